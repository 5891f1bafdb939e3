"""Lists the backbones that --backbone takes, or shows what one of them is and what would be tuned.

    python tools/backbones.py                                      all names
    python tools/backbones.py --find siglip                        names that contain a word
    python tools/backbones.py ViT-B/16
    python tools/backbones.py open_clip:ViT-B-16-SigLIP/webli

Weights are neither downloaded nor loaded if the name tells the architecture: an OpenAI name or one of open_clip's.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code, one_line  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("name", nargs="?", help="value of --backbone; default: list the names")
    parser.add_argument("--find", metavar="WORD", default="", help="list the names that contain WORD")
    return parser.parse_args(argv)


def names() -> list[str]:
    """Returns the names that are known here. Prints to stderr which libraries are missing."""
    import runtime  # noqa: F401  (makes dassl importable)
    from trainers.common.models import open_clip_models, transformers_models
    from trainers.common.models.backbone_files import OPENAI

    found = ["micro", *OPENAI, "FILE (weights in OpenAI's naming)"]
    for library in (open_clip_models, transformers_models):
        try:
            found += library.known()
        except ImportError as error:
            print(one_line(error), file=sys.stderr)
    return found


def describe(name: str) -> list[str]:
    """Returns lines about a backbone: input, text, size, and the parameter sets with their tensors and scalars."""
    import runtime  # noqa: F401
    from trainers.common.models.backbones import outline
    from trainers.common.models.parameter_sets import PARAMETER_SETS

    backbone = outline(name)
    p, text, obstacle = backbone.preprocess, backbone.text_encoder, backbone.image_tokens_obstacle
    total = sum(parameter.numel() for parameter in backbone.model.parameters())
    activation = f", {backbone.activation}" if backbone.activation else ""
    lines = [
        f"{name}: {backbone.library}, {type(backbone.model).__name__}{activation}, {total:,} parameters",
        f"image     {p.size} x {p.size} pixels, {p.resize_mode}, {p.interpolation}, mean {rounded(p.mean)}, "
        f"std {rounded(p.std)}",
        f"text      at most {text.tokenizer.context_length} tokens, "
        f"{'causal' if backbone.causal else 'not causal: always encoded at full length'}",
        f"features  {backbone.dim} numbers"
        + ("; the logit bias is left out, as the softmax cancels it" if backbone.logit_bias is not None else ""),
        f"learned image tokens (MaPLe)  {f'no: {obstacle}' if obstacle else 'yes'}",
        "",
        f"{'parameter set':<24}{'tensors':>8}{'scalars':>12}",
    ]
    for parameter_set, function in sorted(PARAMETER_SETS.items()):
        tensors = [tensor for group in function(backbone.model) for tensor in group]
        scalars = sum(backbone.model.get_parameter(tensor).numel() for tensor in tensors)
        lines.append(f"{parameter_set:<24}{len(tensors):>8,}{scalars:>12,}")
    return lines


def rounded(values) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def run(args) -> None:
    if args.name:
        print("\n".join(describe(args.name)))
        return
    found = [name for name in names() if args.find.lower() in name.lower()]
    if not found:
        raise ValueError(f"no known backbone contains {args.find!r}: list all with python tools/backbones.py")
    print("\n".join(found))


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
