"""Several prompts per class, from prompt templates or from descriptions of the classes.

The text feature of a class is the normalised mean of the normalised features of its prompts.

A file of descriptions is JSON: class name -> list of whole prompts, as in CuPL (https://arxiv.org/abs/2209.03320). Its
content is part of checkpoints, so that a run can be used without the file.
configs/templates has files of templates.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os

import torch
import torch.nn.functional as F

from dassl.config import cfg_default

from .classes import check_text
from .prompts import fill

REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

cfg_default.DATASET.TEMPLATES = None  # several templates: a tuple, or a file with one per line; None: DATASET.TEMPLATE
cfg_default.DATASET.DESCRIPTIONS = ""  # JSON file: class name -> list of prompts; with TEMPLATES, in addition to them
cfg_default.DATASET.DESCRIPTIONS_DIGEST = ""  # SHA-256 of the descriptions; set when they are read
PROMPTS_PER_PASS = 1024  # limits the memory of a pass; the prompts of one template are never split

_descriptions: dict[str, dict[str, list[str]]] = {}  # digest -> class name -> prompts


def complete_cfg(cfg) -> None:
    """Replaces a file of templates by its lines, and reads the descriptions.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file or a template is invalid.
    """
    section = cfg.DATASET
    templates = section.TEMPLATES
    if isinstance(templates, str) and templates:
        templates = read_templates(templates, "DATASET.TEMPLATES")
    changes = {"TEMPLATES": _check_templates(templates, section.TEMPLATES)}
    if section.DESCRIPTIONS:
        content = read_descriptions(section.DESCRIPTIONS)
        changes["DESCRIPTIONS_DIGEST"] = remember(content)
    elif section.DESCRIPTIONS_DIGEST and section.DESCRIPTIONS_DIGEST not in _descriptions:
        raise ValueError("DATASET.DESCRIPTIONS_DIGEST follows from the file: set DATASET.DESCRIPTIONS to its path")
    frozen = cfg.is_frozen()
    cfg.defrost()
    for key, value in changes.items():
        section[key] = value
    if frozen:
        cfg.freeze()


def read_templates(path: str, key: str) -> tuple[str, ...]:
    """Returns the lines of a file of templates. `key` names the file in an OSError or ValueError."""
    lines = [line.strip() for line in _read(path, key).splitlines()]
    return tuple(line for line in lines if line and not line.startswith("#"))


def _check_templates(templates, given) -> tuple[str, ...] | None:
    if templates is None or templates == "":
        return None
    if not isinstance(templates, (list, tuple)) or not templates:
        raise ValueError(
            f"DATASET.TEMPLATES must be a file with one template per line, or templates such as "
            f"\"('a photo of a {{}}.', 'a drawing of a {{}}.')\", got {given!r}"
        )
    for template in templates:
        if check_text(template, "template", "DATASET.TEMPLATES").count("{}") != 1:
            raise ValueError(f"DATASET.TEMPLATES: each must contain one {{}} for the class name, got {template!r}")
    return tuple(dict.fromkeys(templates))


def _read(path: str, key: str) -> str:
    file_name = os.path.expanduser(path)
    own = os.path.join(REPOSITORY, file_name)  # configs/templates/..., if the current folder is another one
    if not os.path.exists(file_name) and os.path.isfile(own):
        file_name = own
    try:
        with open(file_name, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{key}: {path} is not a text file in UTF-8") from error
    except OSError as error:
        raise type(error)(f"{key}: cannot read {path}: {error.strerror}") from error


def read_descriptions(path: str) -> dict[str, list[str]]:
    """Returns class name -> prompts from a JSON file. Raises ValueError if it has another form."""
    try:
        content = json.loads(_read(path, "DATASET.DESCRIPTIONS"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"DATASET.DESCRIPTIONS: {path} is not valid JSON ({error})") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f'DATASET.DESCRIPTIONS: {path} must hold {{"class name": ["prompt", ...], ...}}')
    descriptions = {}
    for name, prompts in content.items():
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, list) or not prompts:
            raise ValueError(f"DATASET.DESCRIPTIONS: {path} must have a list of prompts for {name!r}, got {prompts!r}")
        if _plain(name) in descriptions:
            raise ValueError(f"DATASET.DESCRIPTIONS: {path} has {name!r} twice (case and _ make no difference)")
        prompts = [check_text(prompt, f"prompt of {name!r}", path).strip() for prompt in prompts]
        if not all(prompts):
            raise ValueError(f"DATASET.DESCRIPTIONS: {path} has an empty prompt for {name!r}")
        descriptions[_plain(name)] = list(dict.fromkeys(prompts))
    return descriptions


def remember(descriptions: dict[str, list[str]]) -> str:
    """Makes descriptions available to `class_prompts` by their digest, and returns it."""
    digest = hashlib.sha256(json.dumps(descriptions, sort_keys=True).encode()).hexdigest()
    _descriptions[digest] = descriptions
    return digest


def descriptions_of(cfg) -> dict[str, list[str]]:
    """Returns the descriptions of a completed config: class name -> prompts; {} without descriptions."""
    digest = cfg.DATASET.DESCRIPTIONS_DIGEST
    return _descriptions[digest] if digest else {}


def given(cfg) -> str:
    """Returns the key that asks for several prompts; "" if none does."""
    return "DATASET.TEMPLATES" if cfg.DATASET.TEMPLATES else "DATASET.DESCRIPTIONS" if descriptions_of(cfg) else ""


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).lower()


def class_prompts(cfg, classnames: list[str], templates: tuple[str, ...]) -> list[list[str]]:
    """Returns the prompts of each class: the filled templates, then its descriptions.

    Raises:
        ValueError: a class has no descriptions.
    """
    prompts = [list(filled) for filled in zip(*(fill(template, classnames) for template in templates))]
    descriptions = descriptions_of(cfg)
    if not descriptions:
        return prompts
    missing = [name for name in classnames if _plain(name) not in descriptions]
    if missing:
        nearest = difflib.get_close_matches(_plain(missing[0]), descriptions, 1)
        hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        raise ValueError(
            f"DATASET.DESCRIPTIONS: {len(missing)} of {len(classnames)} classes have no prompts, e.g. "
            f"{missing[0]!r}{hint}: add them to {cfg.DATASET.DESCRIPTIONS or 'the file'}"
        )
    prompts = prompts or [[] for _ in classnames]
    return [[*own, *descriptions[_plain(name)]] for own, name in zip(prompts, classnames)]


def describe(prompts: list[list[str]], template: str, classnames: list[str]) -> str:
    """Returns a line about the prompts of each class: the template if it has made all of them, else their number."""
    n, n_cls = sum(map(len, prompts)), len(prompts)
    if prompts == [[prompt] for prompt in fill(template, classnames)]:
        return f'Prompt: "{template}" ({n_cls} classes)'
    averaged = " (their features are averaged)" if n > n_cls else ""
    return f'Prompts: {n:,} for {n_cls} classes, such as "{prompts[0][0]}"{averaged}'


def passes(prompts: list[list[str]]) -> tuple[list[list[str]], torch.Tensor]:
    """Splits the prompts of all classes into passes of the text encoder.

    Returns:
        The prompts of each pass, and an index (n_cls, most prompts of a class) of each class's prompts in all passes,
        one after the other; -1 for none.
    """
    # Example: 2 classes with 2 and 1 prompts, "a cat", "my cat" and "a dog". The order is that of the templates, as
    # prompts from one template share a prefix: "a cat", "a dog", "my cat". The index is [[0, 2], [1, -1]].
    index = torch.full((len(prompts), max(map(len, prompts))), -1)
    groups, n = [[]], 0
    for position in range(index.shape[1]):
        labels = [label for label, own in enumerate(prompts) if position < len(own)]
        if groups[-1] and len(groups[-1]) + len(labels) > PROMPTS_PER_PASS:
            groups.append([])
        groups[-1] += [prompts[label][position] for label in labels]
        index[labels, position] = torch.arange(n, n + len(labels))
        n += len(labels)
    return groups, index


def class_means(features: torch.Tensor, index: torch.Tensor, normalize: bool = True) -> torch.Tensor:
    """Returns the mean (n_cls, E) of the features (n, E) of each class's prompts; see `passes`."""
    if index.shape[1] == 1:
        return features  # one prompt per class, in the order of the classes
    weights = (index >= 0).to(features.dtype)  # (n_cls, most prompts)
    sums = (features[index.clamp(min=0)] * weights[..., None]).sum(1)
    return F.normalize(sums, dim=-1) if normalize else sums / weights.sum(1, keepdim=True)
