"""TwoStage (2SFS): parameters of CLIP are tuned first, a linear classifier on its image features second.

Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages, https://arxiv.org/abs/2503.11609

- Stage 1 minimises CE over the LayerNorms of both encoders, with the text features as classifier.
- Stage 2 freezes CLIP. The normalised text features become the weights of a classifier, and CE is minimised over these.
  Logits stay cosine similarities times the logit scale: weights are normalised in each step.
- A fraction of the iterations, STAGE_1, is stage 1. Each stage has its own optimiser and schedule, from OPTIM.
- Selective inference: a class that was trained on is predicted by its weights, any other class by its text features.

BitFit in stage 1: TRAINER.TWO_STAGE.TUNE "('image_bias','text_bias')". LoRA, as in CLIPLoRA: LORA 2, TUNE "()".

Deliberate differences from the official code:

- All LayerNorms are tuned, as the paper says: 65,536 parameters on a ViT-B/16. The code freezes ln_pre, ln_post and
  ln_final again: 61,440, with OFFICIAL_FREEZE True. Its BitFit leaves out the biases of the attention's input
  projections: 124,928 instead of 171,008.
- The text features of stage 2 and those of unseen classes are computed at the precision of the run. The code computes
  them under autocast in fp16.
- The dropout of LoRA has no effect in stage 2 and on the text features that it starts from.
- If a loss scale overflows, the code repeats the iteration. Here it counts.
"""

from functools import partial

import torch
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_optimizer

from .common import schedule
from .common.compat import load_scheduler_state, scheduler_state
from .common.models.backbones import outline, takes_image_insertions
from .common.models.places import Unsupported
from .common.models.weight_changes import LowRank, WeightChanges, check_rank, select_matrices
from .common.selective import UNSEEN, note_unseen, rows_of, selected_weights
from .common.trainer import ClipTrainer

PAPER = ("image_layernorm", "text_layernorm")
OFFICIAL = ("image_block_layernorm", "text_block_layernorm")

cfg_default.TRAINER.TWO_STAGE = CN()
cfg_default.TRAINER.TWO_STAGE.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.TWO_STAGE.TUNE = PAPER  # names of parameter sets, tuned in stage 1
cfg_default.TRAINER.TWO_STAGE.LORA = 0  # rank of low-rank changes of q, k and v, trained in stage 1 too; 0: none
cfg_default.TRAINER.TWO_STAGE.LORA_DROPOUT = 0.25
cfg_default.TRAINER.TWO_STAGE.STAGE_1 = 0.6  # fraction of the iterations in stage 1, rounded to an iteration
cfg_default.TRAINER.TWO_STAGE.OFFICIAL_FREEZE = False  # tune the LayerNorms of the blocks only, as the official code


@TRAINER_REGISTRY.register()
class TwoStage(ClipTrainer):
    """Minimises CE over parameters of CLIP, then over a classifier.

    The parameters of one stage at a time are trainable and in the optimiser. The classifier is zero until stage 2.
    """

    section = "TWO_STAGE"
    model_name = "two_stage"
    lr_per_iteration = True
    for_any_text = ("text_features",)  # a class that was not trained on has those of CLIP as tuned in stage 1
    traceable = False  # its stages train different parameters

    in_stage_2 = False

    @classmethod
    def complete_cfg(cls, cfg):
        super().complete_cfg(cfg)
        rank, name = cfg.TRAINER.TWO_STAGE.LORA, cfg.MODEL.BACKBONE.NAME
        if rank and not takes_image_insertions(name):
            raise Unsupported(
                f"TRAINER.TWO_STAGE.LORA {rank} changes matrices of transformer blocks, and the image encoder of "
                f"MODEL.BACKBONE.NAME {name} has none: set it to 0, or use another backbone"
            )
        if rank:
            cls.lora_matrices(rank, outline(name).model)

    @classmethod
    def lora_matrices(cls, rank: int, model: nn.Module) -> list[tuple]:
        """Returns the places of the matrices with low-rank changes, for `WeightChanges`."""
        places = select_matrices(model, ("image", "text"), ("q", "k", "v"), "all", cls.section)
        check_rank(model, places, rank, "TRAINER.TWO_STAGE.LORA")
        return places

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.TWO_STAGE
        if not 0 < options.STAGE_1 <= 1:
            raise ValueError(f"TRAINER.TWO_STAGE.STAGE_1 must be above 0 and at most 1, got {options.STAGE_1}")
        if options.LORA < 0 or not 0 <= options.LORA_DROPOUT < 1:
            raise ValueError(
                f"TRAINER.TWO_STAGE.LORA must be a rank or 0, LORA_DROPOUT from 0 to below 1, got {options.LORA} and "
                f"{options.LORA_DROPOUT}"
            )
        if not (options.TUNE or options.LORA):
            raise ValueError(
                f"TRAINER.TWO_STAGE.TUNE must name the parameter sets of stage 1, got (); the default is {PAPER}. For "
                "LoRA set TRAINER.TWO_STAGE.LORA 2; for a classifier on a frozen CLIP use LinearProbe"
            )
        if options.OFFICIAL_FREEZE and tuple(options.TUNE) != PAPER:
            raise ValueError(
                f"TRAINER.TWO_STAGE.OFFICIAL_FREEZE True needs TRAINER.TWO_STAGE.TUNE {PAPER}, got "
                f"{tuple(options.TUNE)}: set it to False"
            )

    @classmethod
    def sets_to_tune(cls, options):
        return OFFICIAL if options.OFFICIAL_FREEZE else super().sets_to_tune(options)

    def build_tuned(self, classnames):
        self.rows = list(range(len(classnames)))  # row of the classifier for each class of this run
        tuned = nn.Module()
        if self.options.LORA:
            rank, dropout = self.options.LORA, self.options.LORA_DROPOUT
            places = self.lora_matrices(rank, self.clip)
            tuned.changes = WeightChanges(
                self.clip, places, partial(LowRank, rank=rank, scale=rank**-0.5, dropout=dropout)
            )
        tuned.classifier = nn.Parameter(torch.zeros(len(classnames), self.backbone.dim), requires_grad=False)
        return tuned

    def text_features(self):
        """Returns the weights (n_cls, E) of all classes, normalised: in stage 2, the classifier's of those it has."""
        if not self.in_stage_2:
            return super().text_features()
        text = super().text_features() if UNSEEN in self.rows else torch.zeros_like(self.tuned.classifier[self.rows])
        return selected_weights(self.tuned.classifier, self.rows, text)

    def zero_shot_weights(self, tuned):
        text = self.zero_shot_features()
        classifier = text if self.in_stage_2 else torch.zeros_like(text)
        return {**super().zero_shot_weights(tuned), "classifier": classifier}

    def parameter_groups(self):
        """Returns the groups of the optimiser; those of CLIP's parameters are the last, the classifier's the first."""
        return super().parameter_groups() or [{"params": self.trained()}]

    def trained(self) -> list[nn.Parameter]:
        """Returns the parameters of the current stage."""
        return [p for p in self.tuned.parameters() if p.requires_grad]

    def make_optimizer(self):
        optim = build_optimizer(self.tuned, self.cfg.OPTIM, self.parameter_groups())
        return optim, schedule.build(self, optim, self.iterations_of_stage_1())

    def iterations_of_stage_1(self) -> int:
        return round(self.options.STAGE_1 * schedule.total(self))

    def set_stage(self, stage: int) -> None:
        """Makes the parameters of a stage trainable, and gives them to the optimiser, without a state."""
        self.in_stage_2 = stage == 2
        for name, parameter in self.tuned.named_parameters():
            parameter.requires_grad_((name == "classifier") == self.in_stage_2)
            parameter.grad = None
        if self.optim:
            groups = self.optim.param_groups
            for group in groups:
                group["params"] = []
            groups[0 if self.in_stage_2 else -1]["params"] = self.trained()
            self.optim.state.clear()
            self.capture_step()
        self.tuned_changed()

    def set_model_mode(self, mode="train", names=None):
        super().set_model_mode(mode, names)
        if self.in_stage_2:
            self.tuned.eval()  # no dropout

    def before_load(self, state):
        """Finds the classes of this run in the classifier of a checkpoint, by name, and the stage of the checkpoint."""
        classnames = list(self.dm.dataset.classnames)
        known = state.get("meta", {}).get("classnames", classnames)
        self.rows = rows_of(classnames, known)
        self.tuned.classifier.data = self.tuned.classifier.new_zeros(len(known), self.backbone.dim)
        classifier = state["state_dict"].get("classifier")  # none in a folder of peft
        self.set_stage(1 if classifier is None or not classifier.any() else 2)
        if self.in_stage_2:
            note_unseen("classifier", classnames, self.rows)

    def before_train(self):
        super().before_train()
        if self.start_epoch == 0:  # MODEL.INIT_WEIGHTS gives the parameters of CLIP only
            self.rows = list(range(self.num_classes))
            self.tuned.classifier.data = self.tuned.classifier.new_zeros(self.num_classes, self.backbone.dim)
            self.set_stage(1)

    def iterations_left_to_stage_2(self) -> int:
        return self.iterations_of_stage_1() - (self.epoch * self.num_batches + self.batch_idx)

    def forward_backward(self, batch):
        if not (self.in_stage_2 or self.iterations_left_to_stage_2()):
            self.start_stage_2()
        return super().forward_backward(batch)

    def after_step(self):
        super().after_step()
        if not self.in_stage_2 and self.iterations_left_to_stage_2() == 1:
            self.restart_schedule()

    def start_stage_2(self) -> None:
        """Sets the classifier to the text features."""
        self.set_model_mode("eval")
        with torch.no_grad(), self.autocast():
            self.tuned.classifier.copy_(self.text_features())
        self.set_stage(2)
        self.set_model_mode("train")
        print(f"Stage 2: trains the classifier, {self.tuned.classifier.numel():,} parameters")

    def restart_schedule(self) -> None:
        """Starts the schedule again, over the iterations of stage 2, before the first, so that its rate is logged."""
        length = schedule.total(self) - self.iterations_of_stage_1()
        if length:
            for group in self.optim.param_groups:
                group["lr"] = group["initial_lr"]
            load_scheduler_state(self.sched, scheduler_state(schedule.build(self, self.optim, length)))
