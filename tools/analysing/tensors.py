"""The tuned tensors of a run in the order and the groups in which plots show them."""

from torch import nn

from trainers.common.models.parameter_sets import layer_name

from .runs import AnalysedRun

MODULES = {  # paths in a block of CLIP
    "mlp.c_proj": "FFN output",
    "mlp.c_fc": "FFN input",
    "attn": "attention input",
    "attn.out_proj": "attention output",
}
NORMS = {nn.LayerNorm: "LayerNorm", nn.BatchNorm2d: "BatchNorm"}


def ordered_tensors(run: AnalysedRun) -> dict[str, tuple[str, str]]:
    """Returns name -> (group, layer) of the trained tensors: those of CLIP in forward order, then others.

    Example: "visual.transformer.resblocks.0.ln_1.bias" -> ("Image LayerNorm bias", "0.ln_1"). Buffers, such as the
    labels in Tip-Adapter's cache, are not trained; without a trace, they cannot be distinguished from parameters.
    """
    places = {name: (group_name(run.clip, name), layer_name([name]) or name.rpartition(".")[2]) for name in run.initial}
    added = run.trace.names if run.trace else list(run.tensors)
    places.update({name: (f"Added by {run.method}", name) for name in added if name not in run.initial})
    return places


def group_name(clip: nn.Module, name: str) -> str:
    """Returns encoder, kind of module, and kind of parameter: "Text FFN output bias"."""
    path, _, leaf = name.rpartition(".")
    encoder = "Image" if name.startswith("visual.") else "Text"
    kind = next((title for norm, title in NORMS.items() if isinstance(clip.get_submodule(path), norm)), None)
    if kind is None:
        inside_block = path.partition("resblocks.")[2].partition(".")[2] or layer_name([name])
        kind = MODULES.get(inside_block, inside_block)
    leaf = leaf.replace("in_proj_", "")  # attn.in_proj_bias is the bias of the attention's input projection
    return " ".join(part for part in (encoder, kind, leaf) if part)
