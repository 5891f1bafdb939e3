"""The repository uses one plain word per thing: phrases that cost the reader a second look are absent.

A new phrase is a line in PHRASES. The examples beneath keep every pattern able to fail and the exceptions legal.
"""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".py", ".md", ".sh", ".yaml", ".j2", ".txt"}
SKIPPED = ("tests/fixtures/", "tests/test_wording.py", "LICENSE")

# Nouns that "per" goes with, and what follows "two images a class" but not "once a class has been read".
NOUNS = "batch|block|call|class|core|dataset|epoch|evaluation|gpu|image|job|line|method|row|run|second|seed|split|step"
END = r"""(?=\s*(?:[.,;:)|"'`*]|$))"""


class Phrase(NamedTuple):
    """A phrase to avoid.

    Attributes:
        pattern: regular expression; a space also matches an underscore and a line break within a comment.
        instead: what to write.
        allowed: paths, or beginnings of paths, where the word has another sense.
    """

    pattern: str
    instead: str
    allowed: tuple[str, ...] = ()


PHRASES = (
    # "per"
    Phrase("(?:once|twice|times|pass|passes|images|seconds|ms|encoded) an? step", "per step"),
    Phrase("(?:once|twice) an evaluation", "per evaluation"),
    Phrase(
        "(?:once|twice|times|images|prompts?|seconds|ms|folders?|lines?|rows?|columns?|process|processes|jobs?|shots|"
        f"one|task) an? (?:{NOUNS}){END}",
        "per",
    ),
    # parameters
    Phrase(r"[\d,]{4,} (?:of its own )?numbers|(?:its|clip's) own numbers", "parameters"),
    Phrase("what is moved", "trainable parameters, tuned parameters"),
    Phrase("what of clip is tuned", "parameter set"),
    Phrase(
        "gains? and (?:the )?bias(?:es)?|bias(?:es)? and (?:the )?gains?", "weight and bias", ("trainers/clipfit.py",)
    ),
    Phrase("(?:layernorms?|batchnorms?|layer norm|ln)['’s]* gains?", "weight", ("trainers/clipfit.py",)),
    # models, losses
    Phrase("the untouched|untouched clip", "teacher, zero-shot CLIP, frozen"),
    Phrase("(?:is|are|was|were) held near|nothing to hold", "distillation loss"),
    Phrase("(?:tells?|told) apart", "classify, distinguish"),
    Phrase("vot(?:e|es|ed|ing)", "cache logits"),
    Phrase("as (?:they|it) stands?", "eager, unchanged"),
    # data and protocols; "drawn" only where something is drawn with a pen
    Phrase(
        "drawn",
        "sampled",
        (
            "assets/",
            "tests/assets/",
            "docs/figures/",
            "tests/datasets/test_folder_train.py",
            "tests/runtime/fast_loader/test_fast_pixels.py",
        ),
    ),  # fmt: skip
    Phrase(
        "both halves|halves of (?:the |its )?(?:classes|pair|dataset)|half of a base(?: and |/| or )new",
        "base classes, new classes",
    ),
    Phrase(r"domain\s+shift", "distribution shift (the protocol's name is domain_shift)"),
    Phrase("shifted (?:data|datasets?|distributions?|evaluations?|imagenets?|sets?|tests?)", "distribution shift"),
    Phrase("half for new mean", "prediction interval"),
    # runs and files
    Phrase("what (?:a|an|the|every|each) run leaves", "run record, run directory"),
    Phrase("(?:go|goes|going|went) on", "resume, continue"),
    Phrase("(?:is |are )?there twice", "duplicate"),
    Phrase("lacking", "missing"),
    Phrase("asked for and not there|named and not there|named here and not there", "missing"),
    Phrase("damaged or something else|damaged, or something else", "corrupted"),
    Phrase("the small file", "tuned weights, tuned.safetensors"),
    Phrase("taken instead", "fall back to"),
    Phrase("(?:made )?anew", "again, new"),
    # English
    Phrase("besides?", "next to, in addition to, with"),
    Phrase("where there (?:is|are) (?:one|none|no|any)", "if"),
    Phrase("(?:is|are|was|were) told", "receives, is given"),
    Phrase("in the place of", "instead of"),
)

# Left out, since a pattern cannot tell the wrong sense from the right one: "part" (of a split), "place" (of a run),
# "words" (a prompt), "delta" (also a value of --to), "is left out" (skipped), "a class" and so on in the sense of
# "per class" in the middle of a sentence ("two images a class are kept", "images a class has").


def compiled(phrase: Phrase) -> re.Pattern:
    space = r"(?:[\s_]+(?:[#>*]+\s+)?)"
    return re.compile(rf"(?<![a-z]){phrase.pattern.replace(' ', space)}(?![a-z])", re.IGNORECASE | re.MULTILINE)


COMPILED = [(phrase, compiled(phrase)) for phrase in PHRASES]


def findings(text: str, path: str = "") -> list[str]:
    """Returns "path:line: phrase -> what to write" for each phrase in a text, in the order of the lines."""
    found = []
    for phrase, pattern in COMPILED:
        if path.startswith(phrase.allowed or "\0"):
            continue
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append((line, f"{path}:{line}: {' '.join(match[0].split())!r} -> {phrase.instead}"))
    return [message for _, message in sorted(found)]


def checked_files() -> list[str]:
    """Returns the files under version control, and new ones that git does not ignore, that have words to check."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    named = sorted({path for path in listed if Path(path).suffix in SUFFIXES and not path.startswith(SKIPPED)})
    return [path for path in named if (ROOT / path).is_file()]


def test_no_phrase_that_costs_a_second_look():
    files = checked_files()
    assert len(files) > 100 and "README.md" in files
    found = [message for path in files for message in findings((ROOT / path).read_text(encoding="utf-8"), path)]
    assert not found, f"{len(found)} phrases to reword:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "text is encoded once a step", "# the text encoder runs once a\n    # step", "two passes a step",
        "test_once_an_evaluation()", "16 images a class, one process a core.", "46,080 numbers",
        "some of its own numbers", "what is moved", "what of CLIP is tuned", "Gain and bias of each LayerNorm",
        "LayerNorm gains", "the untouched CLIP", "it is held near zero-shot CLIP", "REG 'kd' has nothing to hold",
        "what is told apart", "the cached images' votes", "blocks run as they stand", "few-shot images are drawn",
        "both halves", "Half of a base/new pair", "Domain shift", "shifted datasets", "half for new mean",
        "what a run leaves", "the run goes on", "is there twice", "lacking: seed3", "Asked for and not there",
        "it is damaged or something else", "the small file", "Pillow is taken instead", "made anew", "beside it",
        "besides", "the GPU where there is one", "as it is told", "in the place of x",
    ],
)  # fmt: skip
def test_phrases_are_found(text):
    assert findings(text)


@pytest.mark.parametrize(
    "text",
    [
        "once per step", "a step takes 0.3 s", "makes a step", "once a run has finished, it is skipped",
        "images a run used", "try again; it gains speed", "init(gain=0.02)", "LayerNorm weight and bias",
        "as CoOp goes, only faster", "scripts/domain_shift.sh", "DOMAIN_SHIFT", "the folder where images are", "inside",
        "in place", "the context is shifted by an offset", "redrawn", "goes once",
    ],
)  # fmt: skip
def test_other_senses_are_allowed(text):
    assert not findings(text)


def test_a_finding_names_file_and_line():
    (message,) = findings("one\ntwo, and the run\ngoes on\n", "docs/some.md")
    assert message.startswith("docs/some.md:3: 'goes on'")
