"""A frozen CLIP with the tuned parameters of a method: prompts, encoders, precision, logits.

CLIP itself is never modified. Its encoders are called with the tuned parameters, cast to the dtype of the parameters
they replace. Zero-shot features are therefore available at any time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from dassl.config import cfg_default

from . import prompt_ensemble
from .compat import functional_call
from .models import linear_terms, preprocess
from .models.backbone import Backbone
from .models.backbones import (
    check_blocks,
    complete_cfg,
    features_per_image,
    image_tokens_obstacle,
    load_backbone,
    outline,
)
from .models.insertions import Insertions
from .models.loading import PRECISIONS, activation_note, resolve_precision
from .models.packed_prompts import PackedPrompts
from .models.parameter_sets import add_parameters, cast_like, select
from .models.places import Unsupported
from .models.text import Start
from .models.weight_changes import WeightChanges
from .prompts import fill, get_template
from .runs import start

# Activation of the FFNs that the backbone's weights were made for: quick_gelu (OpenAI's) or gelu. Files do not tell
cfg_default.MODEL.BACKBONE.ACTIVATION = "quick_gelu"
# Recompute each block in the backward pass from its input: slower, far less memory
cfg_default.MODEL.ACTIVATION_CHECKPOINTING = False
# Compile the blocks of the image encoder (ViT) with torch.compile
cfg_default.MODEL.COMPILE = False
# Capture the forward and backward pass of a training step as one CUDA graph (GPU only)
cfg_default.MODEL.CUDA_GRAPH = True
NEEDS_VIT = (
    "{method} inserts learned tokens into the image encoder, which MODEL.BACKBONE.NAME {backbone!r} does not allow: "
    "{reason}. Use a ViT such as ViT-B/16 or open_clip:ViT-B-16/laion2b_s34b_b88k"
)
# A method that overrides none of these predicts by the similarity of its image features and of its text features, which
# are those of a prompt alone.
SIMILARITY = ("text_features", "class_features", "encode_text", "encode_image", "logits")


@dataclass
class TextCache:
    """Cached text features (n_cls, E) and activations."""

    zero_shot: torch.Tensor | None = None  # text features of the frozen CLIP
    raw: torch.Tensor | None = None  # the same, not normalised
    starts: list[Start | None] | None = None  # per pass: activations before the first tuned parameter
    tuned: torch.Tensor | None = None  # text features in evaluation; `tuned_changed` clears them


class TunedClip:
    """A frozen CLIP (`clip`) and a small `nn.Module` with the tuned parameters (`tuned`), which are fp32 masters.

    A mixin: the class it is mixed into provides `cfg` and `device`.
    """

    section = ""  # key under cfg.TRAINER with the method's options
    model_name = ""  # registered name, and folder of the checkpoints in the run directory
    upstream_names = ()  # names under which official code registers the method, if they are others
    upstream_section = ""  # its config section there, with the same keys, if it has another name
    former_name = ""  # folder of upstream's checkpoints, if it has another name
    not_loaded = ()  # name prefixes of tensors in upstream's checkpoints that are not loaded, as they are recomputed

    # Properties of the method, read by scripts, sweep, report and tests
    trainable = True  # False: no gradient steps
    zero_shot = False  # True: uses no training images, so results depend on neither seed nor shots
    per_class = False  # True: has tensors per training class, so no base-to-new
    zero_shot_on_new_classes = False  # True: predicts as zero-shot CLIP on classes it was not trained on
    needs_blocks = False  # True: changes transformer blocks, of the encoders that its key ENCODERS names
    needs_vit = False  # True: inserts learned tokens into the image encoder, which must be a ViT
    image_only = False  # True: of CLIP, only parameters of the image encoder get a gradient
    one_image_feature = False  # True: computes more than similarities with the image features; see Backbone
    image_conditioned_text = False  # True: text features depend on the image
    uses_templates = True  # False: neither the method nor its teacher encodes prompts from templates
    prompts_of_teacher = False  # True: only the teacher's text features are of these prompts, and predictions need none
    choices: dict[str, tuple] = {}  # key in the method's section -> its allowed values
    # Those of SIMILARITY and `model_inference` that a class overrides in a way that holds for any text; see `Captioned`
    for_any_text = (*SIMILARITY, "model_inference")

    start: start.Start | None = None  # values of CLIP's parameters from another run: MODEL.START_FROM

    # Methods override these

    def prompt_template(self) -> str:
        """Returns the prompt template of the teacher, with {} for the class name."""
        return get_template(self.cfg)

    def prompt_templates(self) -> tuple[str, ...]:
        """Returns the templates of the prompts, whose text features are averaged; () if there are descriptions only."""
        several = self.cfg.DATASET.TEMPLATES
        if several or self.cfg.DATASET.DESCRIPTIONS_DIGEST:
            return tuple(several or ())
        return (self.template,)

    @classmethod
    def sets_to_tune(cls, options) -> tuple[str, ...]:
        """Returns the parameter sets of CLIP that are tuned, given the method's config section."""
        return tuple(getattr(options, "TUNE", ()))

    def build_tuned(self, classnames: list[str]) -> nn.Module:
        """Returns the module whose state_dict is saved. The CLIP parameters named by TUNE are added to it.

        Its attribute `inserted`, if it has one, maps "image" and "text" to the `InsertedModules` of an encoder. Its
        attribute `changes`, if it has one, is the `WeightChanges` of CLIP's matrices.
        """
        return nn.Module()

    def text_features(self) -> torch.Tensor:
        """Returns normalised text features (n_cls, E), fp32, with the current tuned parameters."""
        insertions = self._insertions("text")
        if not (self.text_names or insertions):
            return self.zero_shot_features()
        if self.text_cache.starts is None:
            tuned = self.text_names, insertions.get("inserted", ())
            with torch.inference_mode(False), self.autocast():
                constant_start = self.text_encoder.constant_start
                self.text_cache.starts = [constant_start(packed, *tuned) for packed in self.packed_prompts]
        passes = zip(self.packed_prompts, self.text_cache.starts)
        return self.class_features([self.encode_text(packed, start=start, **insertions) for packed, start in passes])

    def losses(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Returns logits (B, n_cls) and the weighted loss terms by name. Their sum is minimised.

        On a GPU, the step is captured as a CUDA graph and replayed. A value that changes between steps must be a tensor
        that is modified in place. A Python number, such as a loss weight that depends on the epoch, keeps its value
        from the capture (the fourth step). If that is not possible, set MODEL.CUDA_GRAPH False.
        """
        features = self.encode_image(image)
        text = self.text_features()
        logits = self.logits(features, text)
        return logits, {"ce": F.cross_entropy(logits, label), **self.text_terms(text, self.zero_shot_features)}

    def text_terms(self, text: torch.Tensor, teacher: Callable[[], torch.Tensor]) -> dict[str, torch.Tensor]:
        """Returns the weighted loss terms of the text features by name, for class prompts and for captions.

        Args:
            text: (n, E) normalised text features.
            teacher: returns those of the frozen CLIP.
        """
        return {}

    def zero_shot_weights(self, tuned: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Returns weights with which the method predicts as zero-shot CLIP, by name: CLIP's own, or no change of them.

        For no change, one factor of it is 0, and the other one has the value in `tuned`. A method with parameters of
        its own adds theirs, if there are such weights. Interpolation (WiSE-FT) goes from these to the `tuned` ones of
        a run on the same classes.
        """
        weights = {name: self.clip.get_parameter(name) for name in self.clip_names}
        weights.update({name: tensor for name, tensor in tuned.items() if name.startswith("changes.")})
        return {**weights, **{f"changes.{name}": tensor for name, tensor in self.changes.neutral().items()}}

    def objective(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """Returns the scalar to minimise, given the loss terms."""
        return torch.stack(list(terms.values())).sum()

    # Shared by all methods

    @property
    def options(self):
        """The method's config section."""
        return self.cfg.TRAINER[self.section]

    @classmethod
    def complete_cfg(cls, cfg) -> None:
        """Sets the keys that follow from the backbone. Called before data are read and before weights are loaded.

        Raises:
            ValueError: the backbone is unknown. Unsupported: the method cannot use it with these settings.
        """
        complete_cfg(cfg)
        prompt_ensemble.complete_cfg(cfg)
        name = cfg.MODEL.BACKBONE.NAME
        if cls.one_image_feature and features_per_image(name) > 1:
            raise Unsupported(
                f"{cfg.TRAINER.NAME} needs one feature per image, but MODEL.BACKBONE.NAME {name} has "
                f"{features_per_image(name)}, one per query token: use another method or backbone"
            )
        reason = image_tokens_obstacle(name) if cls.inserts_image_tokens(cfg) else ""
        if reason:
            raise Unsupported(NEEDS_VIT.format(method=cfg.TRAINER.NAME, backbone=name, reason=reason))
        if cls.needs_blocks:
            check_blocks(name, cfg.TRAINER[cls.section].ENCODERS, f"TRAINER.{cls.section}.ENCODERS")
        sets = cls.sets_to_tune(cfg.TRAINER[cls.section])
        if sets:
            select(outline(name).model, sets, f"TRAINER.{cls.section}.TUNE")

    @classmethod
    def inserts_image_tokens(cls, cfg) -> bool:
        """Whether the method inserts learned tokens into the image encoder with these settings."""
        return cls.needs_vit

    def check_cfg(self, cfg):
        self.complete_cfg(cfg)  # our train.py has done so, a CoOp checkout's has not
        for name, allowed in {"PREC": PRECISIONS, **self.choices}.items():
            value = cfg.TRAINER[self.section][name]
            if value not in allowed:
                raise ValueError(f"TRAINER.{self.section}.{name} must be one of {allowed}, got {value!r}")
        if self.tunes_sets_only() and not (cfg.TRAINER[self.section].get("TUNE", True) or cfg.MODEL.START_TUNE):
            raise ValueError(
                f"TRAINER.{self.section}.TUNE must name at least one parameter set, got (); "
                f"the default is {tuple(cfg_default.TRAINER[self.section].TUNE)}"
            )
        if self.zero_shot and cfg.MODEL.START_FROM:
            raise ValueError(
                f"MODEL.START_FROM {cfg.MODEL.START_FROM}: {cfg.TRAINER.NAME} trains nothing; evaluate that run itself "
                f"with --eval-only --model-dir {cfg.MODEL.START_FROM}"
            )
        if cfg.MODEL.COMPILE and not hasattr(torch, "compile"):
            raise ValueError(f"MODEL.COMPILE True needs torch 2.0 or later, got {torch.__version__}: set it to False")

    @classmethod
    def tunes_sets_only(cls) -> bool:
        """Whether the method has no parameters but those of CLIP that TUNE names."""
        return cls.trainable and cls.build_tuned is TunedClip.build_tuned

    @classmethod
    def takes_captions(cls) -> bool:
        """Whether the method can be trained on captions: it encodes any text as it encodes the prompts of classes."""
        fixed = (*SIMILARITY, "image_features", "losses")
        return all(getattr(cls, name) is getattr(TunedClip, name) for name in fixed)

    def choose_precision(self) -> str:
        return resolve_precision(self.options.PREC, self.device, f"TRAINER.{self.section}.PREC")

    def build_clip(self, classnames: list[str]) -> None:
        """Loads CLIP; sets up the encoders, the prompts and the tuned parameters."""
        cfg = self.cfg
        self.precision = self.choose_precision()
        self.text_cache = TextCache()
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME}, precision: {self.precision})")
        self.backbone = self.make_backbone()
        self.clip = self.backbone.model
        found = start.read(cfg, self.clip, self.backbone.identity())
        if found:
            start.apply(self, found)
            start.note_differences(self)
        preprocess.check_size(cfg, self.backbone.preprocess.size)
        note = preprocess.differences(cfg, self.backbone.preprocess)
        if note:
            print(note)
        if not getattr(self.clip, "is_openai", True):
            print(activation_note(cfg.MODEL.BACKBONE))
        self.image_encoder, self.text_encoder = self.backbone.image_encoder, self.backbone.text_encoder
        self.backbone.recompute(cfg.MODEL.ACTIVATION_CHECKPOINTING)
        self.backbone.compile(cfg.MODEL.COMPILE)
        self.template = self.prompt_template()
        if classnames:  # images with captions have none
            self.prepare_prompts(classnames)

        sets = self.sets_to_tune(self.options)
        self.sets = select(self.clip, sets, f"TRAINER.{self.section}.TUNE")
        others = [name for names in self.sets.values() for name in names if not self.backbone.is_image(name)]
        if self.image_only and others:
            raise ValueError(
                f"TRAINER.{self.section}.TUNE must name parameter sets of the image encoder, as {cfg.TRAINER.NAME} has "
                f"no gradient of others, got {sets} with {others[0]}"
            )
        self.tuned = self.build_tuned(classnames)
        self.inserted = getattr(self.tuned, "inserted", {})
        self.changes = getattr(self.tuned, "changes", WeightChanges(self.clip, []))
        self.clip_names = []  # parameters of CLIP with a master in `tuned`
        self.text_names = [name for name in self.changes if self.backbone.is_text(name)]  # of the text encoder, all
        for names in self.sets.values():
            self.tune(names)
        self.tuned.to(self.device)
        if self.start:
            self.join_start()

    def tune(self, names: list[str]) -> None:
        """Adds parameters of CLIP to the tuned ones."""
        self.clip_names += names
        self.text_names += [name for name in names if self.backbone.is_text(name)]
        add_parameters(self.tuned, self.clip, names)
        for name in names:
            if self.start and name in self.start.tensors:  # in fp32, unlike CLIP's
                self.tuned.get_parameter(name).data.copy_(self.start.tensors[name])
        self.tuned.to(self.device)

    def join_start(self) -> None:
        """Adds the parameters of the start to the tuned ones with MODEL.START_TUNE, and clears cached features."""
        if self.cfg.MODEL.START_TUNE:
            names = [name for name in self.start.tensors if name not in self.clip_names]
            self.sets[start.SET] = [name for name in names if self.backbone.is_image(name) or not self.image_only]
            if names and not self.sets[start.SET]:
                raise ValueError(
                    f"MODEL.START_TUNE True: {self.cfg.TRAINER.NAME} has no gradient of the parameters that "
                    f"{self.cfg.MODEL.START_FROM} tuned, such as {names[0]}: set it to False"
                )
            self.tune(self.sets[start.SET])
        self.text_cache = TextCache()

    def make_backbone(self) -> Backbone:
        """Returns the frozen CLIP with what is known of it."""
        section = self.cfg.MODEL.BACKBONE
        return load_backbone(section.NAME, self.precision, self.device, section.ACTIVATION)

    def prepare_prompts(self, classnames: list[str]) -> None:
        """Sets the prompts of each class, those of each pass, and the index of each class's prompts."""
        given = prompt_ensemble.given(self.cfg)
        if self.uses_templates:
            self.prompts = prompt_ensemble.class_prompts(self.cfg, classnames, self.prompt_templates())
        else:
            self.prompts = [[prompt] for prompt in fill(self.template, classnames)]
        passes, index = prompt_ensemble.passes(self.prompts)
        self.passes = passes
        self.__dict__.pop("packed_prompts", None)  # those of other classes
        if not self.prompts_of_teacher:
            self.packed_prompts  # noqa: B018  (a prompt that is too long is an error now)
        self.prompt_index = index.to(self.device)
        print(prompt_ensemble.describe(self.prompts, self.template, classnames))
        if given and not self.uses_templates:
            print(f"Note: {self.cfg.TRAINER.NAME} learns its prompts, so {given} has no effect")

    @functools.cached_property
    @torch.inference_mode(False)
    def packed_prompts(self) -> list[PackedPrompts]:
        """The packed tokens of the prompts of each pass."""
        return [self.pack_prompts(prompts) for prompts in self.passes]

    def pack_prompts(self, prompts: list[str]) -> PackedPrompts:
        """Returns the packed tokens of prompts, on the device."""
        return self.text_encoder.pack(self.text_encoder.tokenizer(prompts)).to(self.device)

    def class_features(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Returns text features (n_cls, E) of the classes, given those of each pass of `packed_prompts`."""
        return prompt_ensemble.class_means(torch.cat(features) if len(features) > 1 else features[0], self.prompt_index)

    def image_features(self, image: torch.Tensor, tuned: bool = True, **inputs) -> torch.Tensor:
        """Returns image features (B, E), fp32, not normalised. `tuned=False` uses the frozen CLIP.

        `inputs` are passed to the image encoder, as `prompts` to `image.ViT`.
        """
        if tuned:
            inputs = {**self._insertions("image"), **inputs}
        return self._call(self.image_encoder, image.to(self.backbone.dtype), inputs, tuned).float()

    def encode_image(self, image: torch.Tensor, tuned: bool = True) -> torch.Tensor:
        """Returns normalised image features (B, E), fp32. `tuned=False` uses the frozen CLIP."""
        return F.normalize(self.image_features(image, tuned), dim=-1)

    def encode_text(self, packed: PackedPrompts, tuned: bool = True, **inputs) -> torch.Tensor:
        """Returns normalised text features (n, E), fp32. `tuned=False` uses the frozen CLIP.

        `inputs` are passed to TextEncoder.forward. If they include `x`, the result is (B, n, E).
        """
        if tuned and "inserted" not in inputs:
            inputs.update(self._insertions("text"))
        return F.normalize(self._call(self.text_encoder, packed, inputs, tuned).float(), dim=-1)

    def _call(self, encoder: nn.Module, argument, inputs: dict, tuned: bool) -> torch.Tensor:
        """Returns the output of an encoder, with the tuned parameters or, if not `tuned`, with the frozen ones."""
        visual = encoder is self.image_encoder
        overrides = self._overrides(visual) if tuned else {}
        with linear_terms.using(self._terms(visual, overrides) if tuned else {}):
            return functional_call(encoder, overrides, (argument,), inputs)

    def word_embeddings(self, packed: PackedPrompts) -> torch.Tensor | None:
        """Returns the embeddings (1, T, d) of the tokens of prompts if they are tuned, else None."""
        name = f"{self.text_encoder.embedding}.weight"
        if name not in self.text_names:  # a PromptLearner may be older than the start
            return self.text_encoder.embed(packed) if self.start and name in self.start.tensors else None
        return self.text_encoder.embed(packed, cast_like(self.tuned, self.clip, [name])[name])

    @torch.inference_mode(False)  # training may use features that an evaluation computed first
    @torch.no_grad()
    def zero_shot_features(self) -> torch.Tensor:
        """Returns the teacher's normalised text features (n_cls, E), fp32. They are computed once."""
        if self.text_cache.zero_shot is None:
            with self.autocast():
                passes = [self.encode_text(packed, tuned=False) for packed in self.packed_prompts]
                self.text_cache.zero_shot = self.class_features(passes)
        return self.text_cache.zero_shot

    def tunes_images(self) -> bool:
        """Whether `image_features` may differ from those of the frozen CLIP."""
        names = [*self.clip_names, *self.changes]
        return bool(self._insertions("image")) or any(self.backbone.in_encoder(name, image=True) for name in names)

    def tuned_changed(self) -> None:
        """Clears the text features cached for evaluation. Call this after every change of the tuned parameters."""
        self.text_cache.tuned = None

    def _overrides(self, visual: bool) -> dict[str, torch.Tensor]:
        """Returns the tuned parameters of one encoder, by their names in it, in the dtype of CLIP's parameters."""
        merged = not self.changes.has_dropout()
        names = dict.fromkeys([*self.clip_names, *(self.changes if merged else ())])
        return {
            self.backbone.name_in_encoder(name): self._value(name, merged).to(self.clip.get_parameter(name).dtype)
            for name in names
            if self.backbone.in_encoder(name, image=visual)
        }

    def _terms(self, visual: bool, overrides: dict[str, torch.Tensor]) -> linear_terms.Terms:
        """Returns the terms of the linear layers of one encoder: its changes, in training with dropout."""
        if not self.changes.has_dropout():
            return {}
        weights, terms = {}, {}
        for name in self.changes:
            if self.backbone.in_encoder(name, image=visual):
                weights[name] = overrides.get(self.backbone.name_in_encoder(name), self.clip.get_parameter(name))
                share = getattr(self, "share", None) if visual else None  # all processes have all prompts
                terms[name] = self.changes.term(name, len(weights[name]), share)
        return linear_terms.of(weights, terms)

    def tuned_values(self) -> dict[str, torch.Tensor]:
        """Returns CLIP's tuned parameters by name, fp32: the masters, and the weights with their changes."""
        return {name: self._value(name) for name in dict.fromkeys([*self.clip_names, *self.changes])}

    def _value(self, name: str, changed: bool = True) -> torch.Tensor:
        """Returns a parameter of CLIP, fp32 and differentiable: its master if it has one, with its change."""
        value = (self.tuned if name in self.clip_names else self.clip).get_parameter(name)
        return self.changes.changed(name, value) if changed and name in self.changes else value

    def added_tensors(self) -> list[str]:
        """Returns the names of saved tensors that neither replace nor change parameters of CLIP."""
        saved = self.tuned.state_dict()
        return [name for name in saved if name not in self.clip_names and not name.startswith("changes.")]

    def _insertions(self, encoder: str) -> dict[str, Insertions]:
        """Returns the argument of an encoder, "image" or "text", with what is inserted into it, if anything is."""
        if encoder not in self.inserted:
            return {}
        return {"inserted": self.inserted[encoder](self.backbone.dtype)}

    @property
    def logit_scale(self) -> torch.Tensor:
        """The factor of the cosine similarities: the tuned one if TUNE names the set logit_scale."""
        if "logit_scale" in self.clip_names:
            return self.tuned.get_parameter("logit_scale").exp().reshape(())
        return self.backbone.logit_scale

    def logits(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """Returns logits (B, n_cls): cosine similarities times the logit scale, in fp32 at every precision."""
        with torch.autocast(self.device.type, enabled=False):
            return self.backbone.logits(image_features, text_features, self.logit_scale)

    def zero_shot_logits(self, image_features: torch.Tensor) -> torch.Tensor:
        """Returns the teacher's logits (B, n_cls), fp32, given its normalised image features."""
        with torch.autocast(self.device.type, enabled=False):
            return self.backbone.logits(image_features, self.zero_shot_features(), self.backbone.logit_scale)

    def autocast(self):
        """Returns a context that enables autocast only if PREC is amp: fp16 on CUDA, bf16 on the CPU."""
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision == "amp")

    def model_inference(self, image):
        """Returns logits (B, n_cls). Text features are computed once per evaluation."""
        with self.autocast():
            text = self.text_of_evaluation()
            return self.logits(self.encode_image(image), text)

    def text_of_evaluation(self):
        """Returns what predictions need of the text, computed at the first call after a change: `compute_text`."""
        if self.text_cache.tuned is None:
            self.text_cache.tuned = self.compute_text()
        return self.text_cache.tuned

    def compute_text(self):
        """Returns the text features (n_cls, E), or what else `model_inference` needs of the text."""
        return self.text_features()
