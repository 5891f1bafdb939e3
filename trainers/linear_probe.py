"""Linear probe: a linear classifier on CLIP's image features.

- INIT zero_shot: the weights start as text features times the logit scale, the bias as zero, so that training starts
  from zero-shot CLIP. "ZS-LP" of CLAP, https://arxiv.org/abs/2312.12730: SGD with learning rate 0.1, 300 epochs.
- INIT random: PyTorch's initialisation of a linear layer.
- SOLVER logistic_regression: scikit-learn's logistic regression instead of SGD, which is CoOp's linear probe.

Deliberate differences from the official codes:

- CLAP normalises the weights in each step, so that logits are cosine similarities. Here the classifier is linear.
- CLAP trains on the features of 20 augmented views per image. Here features are computed once if INPUT.TRANSFORMS has
  no random transform and the image encoder is frozen; otherwise each step encodes its images.
- CoOp's probe samples its images with NumPy. Here the images are those of all methods.
- Image parameter sets can be tuned together with the classifier (TRAINER.LINEAR_PROBE.TUNE "('image_layernorm',)").
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common import logistic_regression
from .common.cached_features import FeatureLoader, compute_features, has_random_transform
from .common.runs.checkpoint import shorten
from .common.runs.rng import random_state, set_random_state
from .common.selective import UNSEEN, note_unseen, rows_of, selected_weights
from .common.trainer import ClipTrainer

cfg_default.TRAINER.LINEAR_PROBE = CN()
cfg_default.TRAINER.LINEAR_PROBE.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.LINEAR_PROBE.FEATURES = "projected"  # or unprojected: those before the image projection
cfg_default.TRAINER.LINEAR_PROBE.NORMALIZE = None  # normalise the features; None: only with the zero-shot weights
cfg_default.TRAINER.LINEAR_PROBE.SOLVER = "sgd"  # sgd (the OPTIM section) or logistic_regression
cfg_default.TRAINER.LINEAR_PROBE.INIT = "zero_shot"  # of SGD: zero_shot or random
cfg_default.TRAINER.LINEAR_PROBE.C = 0.0  # of logistic regression: inverse regularisation; 0: searched
cfg_default.TRAINER.LINEAR_PROBE.SELECTIVE = True  # predict classes that it was not trained on by their text features
cfg_default.TRAINER.LINEAR_PROBE.TUNE = ()  # image parameter sets of CLIP tuned too


class LinearHead(nn.Module):
    """The classifier: weight (n_cls, D) and bias (n_cls,)."""

    def __init__(self, n_cls: int, dim: int, trainable: bool):
        super().__init__()
        layer = nn.Linear(dim, n_cls)
        self.weight = nn.Parameter(layer.weight.detach(), requires_grad=trainable)
        self.bias = nn.Parameter(layer.bias.detach(), requires_grad=trainable)

    def fill(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Sets the weights, for any number of classes. `weight` and `bias` remain the optimiser's parameters."""
        self.weight.data = weight.to(self.weight)
        self.bias.data = bias.to(self.bias)


@TRAINER_REGISTRY.register()
class LinearProbe(ClipTrainer):
    """The linear probe's trainer: minimises CE, or calls scikit-learn."""

    section = "LINEAR_PROBE"
    one_image_feature = True
    image_only = True
    model_name = "linear_probe"
    zero_shot_on_new_classes = True
    choices = {
        "FEATURES": ("projected", "unprojected"),
        "NORMALIZE": (None, True, False),
        "SOLVER": ("sgd", "logistic_regression"),
        "INIT": ("zero_shot", "random"),
    }

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.LINEAR_PROBE
        if options.C < 0:
            raise ValueError(f"TRAINER.LINEAR_PROBE.C must be positive, or 0 to search it, got {options.C}")
        self.trainable = options.SOLVER == "sgd"
        self.searches_on_val = not self.trainable and not options.C
        self.zero_shot_init = self.trainable and options.INIT == "zero_shot"
        self.normalize = self.zero_shot_init if options.NORMALIZE is None else options.NORMALIZE
        self.per_class = not options.SELECTIVE
        if options.TUNE and not self.trainable:
            raise ValueError(
                "TRAINER.LINEAR_PROBE.TUNE must be empty for SOLVER logistic_regression, which trains no parameter of "
                f"CLIP, got {tuple(options.TUNE)}: use SOLVER sgd"
            )
        if self.zero_shot_init and (options.FEATURES == "unprojected" or not self.normalize):
            raise ValueError(
                "TRAINER.LINEAR_PROBE.INIT zero_shot needs FEATURES projected and NORMALIZE True, as text features are "
                f"normalised and have that length, got FEATURES {options.FEATURES}, NORMALIZE {self.normalize}: change "
                "these, or set TRAINER.LINEAR_PROBE.INIT random"
            )

    def build_tuned(self, classnames):
        self.rows = list(range(len(classnames)))  # row of the head for each class of this run
        self.identity, dim = {}, self.backbone.dim
        if self.options.FEATURES == "unprojected":
            self.identity, dim = self.backbone.identity_projection()
            if not self.identity:
                raise ValueError(
                    "TRAINER.LINEAR_PROBE.FEATURES unprojected needs an image encoder that ends with a linear "
                    f"projection, which {self.backbone.name} does not: set TRAINER.LINEAR_PROBE.FEATURES projected"
                )
        return LinearHead(len(classnames), dim, self.trainable)

    def build_clip(self, classnames):
        super().build_clip(classnames)
        if self.zero_shot_init:
            self.tuned.fill(self.backbone.logit_scale * self.text_features(), torch.zeros(len(classnames)))

    def head_features(self, image: torch.Tensor) -> torch.Tensor:
        """Returns the features (B, D) that the classifier takes, fp32."""
        overrides = {**self._overrides(visual=True), **self.identity}
        features = functional_call(self.image_encoder, overrides, (image.to(self.backbone.dtype),)).float()
        return F.normalize(features, dim=-1) if self.normalize else features

    def classify(self, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Returns logits (B, n_cls) of features (B, D), in fp32 at every precision."""
        with torch.autocast(self.device.type, enabled=False):
            return F.linear(features, weight, bias)

    def zero_shot_weights(self, tuned):
        weights = super().zero_shot_weights(tuned)
        if self.zero_shot_init:
            weights["weight"] = self.backbone.logit_scale * self.zero_shot_features()
            weights["bias"] = torch.zeros(len(self.rows))
        return weights

    def losses(self, image, label):
        features = image if image.dim() == 2 else self.head_features(image)  # a FeatureLoader gives features
        logits = self.classify(features, self.tuned.weight, self.tuned.bias)
        return logits, {"ce": F.cross_entropy(logits, label)}

    def model_inference(self, image):
        with self.autocast():
            text = self.text_of_evaluation()
            features = self.encode_image(image) if UNSEEN in self.rows else self.head_features(image)
            return self.classify(features, *text)

    def compute_text(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns weight (n_cls, D) and bias (n_cls,) for the classes of this run.

        If the head has all of them, these are its own. Otherwise logits are cosine similarities times the logit scale:
        of the head's weights for the classes that it has, if they started as text features; of text features for the
        others.
        """
        if UNSEEN not in self.rows:
            return self.tuned.weight[self.rows], self.tuned.bias[self.rows]
        weight = self.text_features()
        if self.zero_shot_init:
            weight = selected_weights(self.tuned.weight, self.rows, weight)
        return self.backbone.logit_scale * weight, torch.zeros(len(self.rows), device=self.device)

    def before_load(self, state):
        """Finds the classes of this run in the head of a checkpoint, by name."""
        classnames = list(self.dm.dataset.classnames)
        known = state.get("meta", {}).get("classnames", classnames)
        self.rows = rows_of(classnames, known)
        unseen = [name for name, row in zip(classnames, self.rows, strict=True) if row == UNSEEN]
        if unseen and not self.options.SELECTIVE:
            raise ValueError(
                f"a linear probe knows only the classes that it was trained on ({shorten(known)}), got "
                f"{shorten(unseen)}: set TRAINER.LINEAR_PROBE.SELECTIVE True to predict others by their text features"
            )
        note_unseen("probe", classnames, self.rows, text_only=not self.zero_shot_init)
        head = self.tuned
        head.fill(head.weight.new_zeros(len(known), head.weight.shape[1]), head.bias.new_zeros(len(known)))

    def check_training(self):
        super().check_training()
        if not (self.trainable or self.options.C or self.has_validation()):
            raise ValueError(
                f"{self.cfg.DATASET.NAME} has no validation images to search C on: "
                "set TRAINER.LINEAR_PROBE.C to a positive number, such as 1.0"
            )
        if self.rows != list(range(len(self.tuned.weight))):
            raise ValueError(f"MODEL.INIT_WEIGHTS {self.cfg.MODEL.INIT_WEIGHTS} is a probe for other classes")

    def before_train(self):
        super().before_train()
        is_fixed = not self.clip_names and not has_random_transform(self.cfg)
        if self.trainable and is_fixed and self.start_epoch < self.max_epoch:
            state = random_state()  # a resumed run draws the same numbers
            features, labels = self.features_of(self.dm.dataset.train_x)
            self.train_loader_x = FeatureLoader(features, labels, self.train_loader_x)
            set_random_state(state)
            print(f"The features of {len(features):,} training images are computed once: no transform is random")

    def features_of(self, images) -> tuple[torch.Tensor, torch.Tensor]:
        self.set_model_mode("eval")
        return compute_features(self, images, self.head_features)

    def run_epoch(self):
        if self.trainable:
            super().run_epoch()
        else:
            self.fit_logistic_regression()

    def fit_logistic_regression(self) -> None:
        """Sets the head to scikit-learn's classifier, with C as in the config or the best on validation images."""
        train = self.arrays(self.dm.dataset.train_x)
        C = self.options.C
        if C:
            classifier = logistic_regression.fit(*train, C)
        else:
            val = self.arrays(self.dm.dataset.val)
            classifier, C, accuracy = logistic_regression.fit_best(train, val)
            print(f"Chosen on {len(val[1]):,} validation images: C {C:.4g}, accuracy {100 * accuracy:.2f}%")
        if max(classifier.n_iter_) >= classifier.max_iter:
            print(f"Note: logistic regression has not converged after {classifier.max_iter:,} iterations")
        self.tuned.fill(*logistic_regression.weights(classifier))
        self.tuned_changed()

    def arrays(self, images) -> tuple:
        """Returns features (n, D) and labels (n,) of images, as NumPy arrays of float64 and int64."""
        features, labels = self.features_of(images)
        return features.double().cpu().numpy(), labels.cpu().numpy()
