"""Prompt templates."""

from __future__ import annotations

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.data.datasets import DATASET_REGISTRY

from .classes import as_in_prompts, check_text
from .models.tokenizers import OpenAITokenizer

tokenize = OpenAITokenizer()

cfg_default.DATASET.TEMPLATE = ""  # prompt with one "{}" for the class name; empty: the method's, else the dataset's

# For CoOp's dataset classes, which have no `template`. They are used if our `datasets` is not imported.
DEFAULT_TEMPLATE = "a photo of a {}."
FALLBACK_TEMPLATES = {
    "OxfordPets": "a photo of a {}, a type of pet.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "Food101": "a photo of {}, a type of food.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "UCF101": "a photo of a person doing {}.",
    **dict.fromkeys(("Digits", "DigitsRotated", "DigitsNoisy"), "a photo of the number {}."),
}
# Templates of a method's official code that differ from the dataset's. Used for that method only.
KGCOOP_TEMPLATES = {"DescribableTextures": "a photo of a {}, a type of texture."}
PROGRAD_TEMPLATES = {
    "OxfordPets": "a type of pet, a photo of a {}.",
    "OxfordFlowers": "a type of flower, a photo of a {}.",
    "Food101": "a type of food, a photo of {}.",
    "FGVCAircraft": "a type of aircraft, a photo of a {}.",
    "DescribableTextures": "a texture of {}.",
}
TCP_TEMPLATES = {  # of the teacher
    "FGVCAircraft": "a photo of an aircraft {}.",
    "DescribableTextures": "a photo of a {}, a type of texture.",
    "Food101": "a photo of a {}, a type of food.",
}
TCP_PROMPTS = {  # what follows the learned tokens
    "OxfordPets": "{}, a type of pet.",
    "OxfordFlowers": "{}, a type of flower.",
    "FGVCAircraft": "{}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "StanfordCars": "{}, a type of car",
    "Food101": "{}, a type of food.",
    "UCF101": "person doing {}.",
}
# OpenAI's seven selected ImageNet templates, for ZeroshotCLIP2.
SELECTED_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def add_coop_options() -> None:
    """Registers the config section TRAINER.COOP, which CoOp and the methods based on it share."""
    if "COOP" in cfg_default.TRAINER:
        return
    cfg_default.TRAINER.COOP = CN()
    cfg_default.TRAINER.COOP.N_CTX = 16  # learned tokens
    cfg_default.TRAINER.COOP.CSC = False  # separate learned tokens per class
    cfg_default.TRAINER.COOP.CTX_INIT = None  # words that initialise the learned tokens and set their number
    cfg_default.TRAINER.COOP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
    cfg_default.TRAINER.COOP.CLASS_TOKEN_POSITION = "end"  # end, middle or front
    cfg_default.TRAINER.COOP.TUNE = ()  # parameter sets tuned too; ("image_layernorm",) is "+UL"


def get_template(cfg, method_templates: dict[str, str] | None = None) -> str:
    """Returns the prompt template: DATASET.TEMPLATE, else the method's for DATASET.NAME, else the dataset's."""
    name = cfg.DATASET.NAME
    template = cfg.DATASET.TEMPLATE or (method_templates or {}).get(name) or dataset_template(name)
    if template.count("{}") != 1:
        raise ValueError(f"DATASET.TEMPLATE must contain one {{}} for the class name, got {template!r}")
    return check_text(template, "DATASET.TEMPLATE")


def dataset_template(name: str) -> str:
    """Returns the `template` of the dataset class; falls back to FALLBACK_TEMPLATES, then to DEFAULT_TEMPLATE."""
    registered = name in DATASET_REGISTRY.registered_names()
    template = getattr(DATASET_REGISTRY.get(name), "template", "") if registered else ""
    return template or FALLBACK_TEMPLATES.get(name, DEFAULT_TEMPLATE)


def fill(template: str, classnames: list[str]) -> list[str]:
    """Returns one prompt per class. `_` in a class name becomes a space."""
    return [template.replace("{}", as_in_prompts(name)) for name in classnames]
