"""FLYP: fine-tunes all parameters of CLIP with its own contrastive loss, 149,620,737 parameters on a ViT-B/16.

Finetune Like You Pretrain: Improved Finetuning of Zero-Shot Vision Models, https://arxiv.org/abs/2212.00638

Each image of a batch gets a caption, a prompt of its class. The loss is the mean of the cross-entropies of images among
the captions and of captions among the images of the batch. Images of one class are negatives of each other, as in the
official code. The prompts of a class come from DATASET.TEMPLATE or, as in the official code, from several templates
(DATASET.TEMPLATES configs/templates/imagenet80.txt), of which one is chosen at random for each image.

Deliberate differences from the official code:

- Its file of captions has one line per image and template, which are shuffled. Here an epoch has each image once.
- An epoch leaves out its last, incomplete batch, as in Dassl.
- The accuracy in the log is that among the classes of the batch.
"""

import torch
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.losses import contrastive_losses
from .common.trainer import ClipTrainer

cfg_default.TRAINER.FLYP = CN()
cfg_default.TRAINER.FLYP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.FLYP.TUNE = ("image_encoder", "text_encoder", "logit_scale")  # names of parameter sets


@TRAINER_REGISTRY.register()
class FLYP(ClipTrainer):
    """Minimises the contrastive loss over all parameters."""

    section = "FLYP"
    model_name = "flyp"
    gathers = True  # the loss compares all images and captions of the batch

    @classmethod
    def takes_captions(cls):
        return True  # its loss is the one for captions, with prompts as captions

    def prepare_prompts(self, classnames):
        super().prepare_prompts(classnames)
        tokens = self.text_encoder.tokenizer([prompt for own in self.prompts for prompt in own])
        self.tokens = self.text_encoder.trim(tokens).to(self.device)  # (prompts of all classes, L)
        counts = torch.tensor([len(own) for own in self.prompts])
        self.n_prompts = counts.to(self.device)  # (n_cls,)
        self.first_prompt = (counts.cumsum(0) - counts).to(self.device)  # (n_cls,) row of a class's first prompt

    def sample_captions(self, label: torch.Tensor) -> torch.Tensor:
        """Returns rows (B,) of `tokens`: a random prompt of the class of each image."""
        position = torch.rand(len(label), device=label.device) * self.n_prompts[label]
        return self.first_prompt[label] + position.long()

    def losses(self, image, label):
        label = self.whole_batch(label)  # (B,)
        captions = self.own_rows(self.tokens[self.sample_captions(label)])  # (B, L)
        text = self.encode_text(self.text_encoder.pack_equal(captions))  # (B, E)
        image, text = self.whole_batch(torch.stack([self.encode_image(image), text], dim=1)).unbind(1)
        logits = self.logits(image, text)  # (B, B)
        image_loss, text_loss = contrastive_losses(logits)
        terms = {"image": image_loss / 2, "text": text_loss / 2}
        return self.own_rows(self.class_logits(logits.detach(), label)), terms

    def class_logits(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Returns logits (B, n_cls), those of the nearest caption of each class; very low for classes without one."""
        lowest = torch.full((len(label), self.num_classes), torch.finfo(logits.dtype).min, device=label.device)
        return lowest.scatter_reduce(1, label.expand(len(label), -1), logits, "amax")
