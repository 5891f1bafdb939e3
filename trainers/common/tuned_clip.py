"""A frozen CLIP and what a method tunes of it or beside it: prompts, encoders, precision, logits.

CLIP itself is never modified: its encoders run with the tuned tensors put in place of its own parameters, cast to their
type, so zero-shot features of the same object are available at any time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dassl.config import cfg_default

from .compat import functional_call
from .models.image import image_encoder
from .models.loading import PRECISIONS, check_input_size, load_clip, resolve_precision
from .models.packed_prompts import PackedPrompts, pack
from .models.parameter_sets import add_parameters, cast_like, select
from .models.text import TextEncoder
from .prompts import fill, get_template, tokenize

# Keep only the input of each block for the backward pass, which computes the block once more: slower, far less memory
cfg_default.MODEL.ACTIVATION_CHECKPOINTING = False
# torch.compile for the image encoder's blocks (ViT)
cfg_default.MODEL.COMPILE = False
# Forward and backward pass of a training step as one CUDA graph, where there is a GPU
cfg_default.MODEL.CUDA_GRAPH = True


class TunedClip:
    """A small `nn.Module` of fp32 masters (`tuned`) around a frozen CLIP (`clip`).

    Expects `cfg` and `device`.
    """

    section = ""  # key under cfg.TRAINER with the method's options
    model_name = ""  # registered name: the folder of its checkpoints
    former_name = ""  # the folder that upstream's checkpoints of the method lie in, where it is another one
    left_out = ()  # beginnings of names in upstream's checkpoints that are made anew here and not loaded
    trainable = True  # False: no gradient step is made
    zero_shot = False  # whether no training images are used, so that results depend on neither seed nor shots
    per_class = False  # whether the tuned tensors belong to the very classes they were trained on
    needs_vit = False  # whether it runs on a ViT only
    image_conditioned_text = False  # whether the text features depend on the image
    _zero_shot_text = None  # text features, where nothing tuned changes them
    _text_start = None  # what of the text encoder's work no tuned parameter changes
    _eval_text = None  # text features of the evaluation that is under way

    # What a method states

    def prompt_template(self) -> str:
        """The zero-shot prompt, with {} for the class name."""
        return get_template(self.cfg)

    def build_tuned(self, classnames: list[str]) -> nn.Module:
        """The module whose state_dict is saved; CLIP's own parameters in TUNE are added to it."""
        return nn.Module()

    def text_features(self) -> torch.Tensor:
        """Normalised text features of the classes, with the current tuned parameters: (n_cls, E), fp32."""
        if self.text_names:
            if self._text_start is None:
                with torch.inference_mode(False), self.autocast():
                    self._text_start = self.text_encoder.constant_start(self.packed_prompts, self.text_names)
            return self.encode_text(self.packed_prompts, start=self._text_start)
        if self._zero_shot_text is None:
            self._zero_shot_text = self.zero_shot_features()
        return self._zero_shot_text

    def losses(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Logits (B, n_cls) and the weighted loss terms by name; their sum is minimised.

        On a GPU steps are replayed from a CUDA graph. What changes from step to step must be a tensor there, changed in
        place: a Python number, such as a weight that depends on the epoch, would stay what it was in the fourth step.
        Where that is in the way: MODEL.CUDA_GRAPH False.
        """
        logits = self.logits(self.encode_image(image), self.text_features())
        return logits, {"ce": F.cross_entropy(logits, label)}

    def objective(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """What is minimised, from the loss terms."""
        return torch.stack(list(terms.values())).sum()

    # Shared parts

    @property
    def options(self):
        """The method's config section."""
        return self.cfg.TRAINER[self.section]

    def check_cfg(self, cfg):
        precision = cfg.TRAINER[self.section].PREC
        if precision not in PRECISIONS:
            raise ValueError(f"TRAINER.{self.section}.PREC must be one of {PRECISIONS}, got {precision!r}")
        if cfg.MODEL.COMPILE and not hasattr(torch, "compile"):
            raise ValueError(f"MODEL.COMPILE needs torch 2.0 or later, this is {torch.__version__}: set it to False")

    def choose_precision(self) -> str:
        return resolve_precision(self.options.PREC, self.device, f"TRAINER.{self.section}.PREC")

    def build_clip(self, classnames: list[str]) -> None:
        """Set `clip`, its encoders, the prompts and what is tuned."""
        cfg = self.cfg
        self.precision = self.choose_precision()
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME}, precision: {self.precision})")
        self.clip = self.make_clip()
        check_input_size(cfg, self.clip)
        self.image_encoder, self.text_encoder = image_encoder(self.clip.visual), TextEncoder(self.clip)
        self.image_encoder.recompute = self.text_encoder.recompute = cfg.MODEL.ACTIVATION_CHECKPOINTING
        self.image_encoder.compiled = cfg.MODEL.COMPILE
        self.template = self.prompt_template()
        self.packed_prompts = self.pack_prompts(classnames)
        print(f'Prompt: "{self.template}" ({len(classnames)} classes)')

        sets = getattr(self.options, "TUNE", ())
        self.sets = select(self.clip, tuple(sets), f"TRAINER.{self.section}.TUNE")
        self.clip_names = [name for names in self.sets.values() for name in names]
        self.text_names = [name for name in self.clip_names if not name.startswith("visual.")]
        self.tuned = self.build_tuned(classnames)
        add_parameters(self.tuned, self.clip, self.clip_names)
        self.tuned.to(self.device)

    def make_clip(self) -> nn.Module:
        """The frozen CLIP."""
        return load_clip(self.cfg.MODEL.BACKBONE.NAME, self.precision, self.device)

    def pack_prompts(self, classnames: list[str], template: str = "") -> PackedPrompts:
        """Tokens of one prompt a class, packed, on the device."""
        return pack(tokenize(fill(template or self.template, classnames))).to(self.device)

    def image_features(self, image: torch.Tensor, tuned: bool = True) -> torch.Tensor:
        """Image features as CLIP's projection gives them: (B, E), fp32, not normalised; `tuned` as in `encode_text`."""
        overrides = self._overrides(visual=True) if tuned else {}
        return functional_call(self.image_encoder, overrides, (image.to(self.clip.dtype),)).float()

    def encode_image(self, image: torch.Tensor, tuned: bool = True) -> torch.Tensor:
        """Normalised image features (B, E), fp32, with the tuned parameters in place of CLIP's own."""
        return F.normalize(self.image_features(image, tuned), dim=-1)

    def encode_text(self, packed: PackedPrompts, tuned: bool = True, **inputs) -> torch.Tensor:
        """Normalised text features (n, E), fp32; `tuned=False` gives those of the untouched CLIP.

        With `x` among the `inputs` (see TextEncoder.forward): (B, n, E).
        """
        overrides = self._overrides(visual=False) if tuned else {}
        features = functional_call(self.text_encoder, overrides, (packed,), inputs)
        return F.normalize(features.float(), dim=-1)

    @torch.inference_mode(False)  # an evaluation may be the first to ask, and training then goes on with them
    @torch.no_grad()
    def zero_shot_features(self) -> torch.Tensor:
        """Normalised features of the zero-shot prompts by the untouched CLIP: (n_cls, E), fp32."""
        with self.autocast():
            return self.encode_text(self.packed_prompts, tuned=False)

    def _overrides(self, visual: bool) -> dict[str, torch.Tensor]:
        names = [name for name in self.clip_names if name.startswith("visual.") == visual]
        tensors = cast_like(self.tuned, self.clip, names)
        return {name[len("visual.") if visual else 0 :]: tensor for name, tensor in tensors.items()}

    def logits(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """Scaled cosine similarities (B, n_cls), in fp32 at every precision."""
        with torch.autocast(self.device.type, enabled=False):
            return self.clip.logit_scale.exp() * image_features @ text_features.t()

    def autocast(self):
        """Mixed precision for PREC amp: fp16 on CUDA, bf16 elsewhere; does nothing at other precisions."""
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision == "amp")

    def model_inference(self, image):
        """Logits (B, n_cls); the classes are encoded once an evaluation."""
        with self.autocast():
            if self._eval_text is None:
                self._eval_text = self.text_features()
            return self.logits(self.encode_image(image), self._eval_text)
