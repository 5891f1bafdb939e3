"""The roofline of a CLIPFit step: the time that its unavoidable matrix products take on a device.

It is their number of floating-point operations (FLOPs), divided by the throughput of one large product at the same
precision on the same device. A multiplication and an addition are two operations. Unavoidable are:

- the image tower forward, and backward to its first LayerNorm, which is tuned, but no gradient of a frozen matrix;
- the text tower from the second block on, forward and backward, with one row per token that differs between prompts.
  The first block is constant up to its tuned bias;
- logits.

Elementwise operations, the teacher, the optimiser and loading count as zero.
"""

from __future__ import annotations

from cases import default_device, prompts

from tools.diagnosing.flops import (  # noqa: F401  (the benchmarks use them from here)
    SIDES,
    causal_pairs,
    dtype_of,
    large_product,
    packed_prompts,
    product_flops,
    step_flops,
)


def report(args, results: dict, product: tuple) -> None:
    """Prints the FLOPs of a step, their time at the throughput of the large product, and our times as multiples.

    Args:
        results: as `steps.measure` returns them.
        product: key of the large product in `results`.
    """
    from tests.reference.models import SIZES

    size = SIZES[args.size]
    if not isinstance(size[2], int):  # a ResNet, whose convolutions are not counted
        print(f"\nThere is no roofline for {args.size}: only the products of ViTs are counted.")
        return
    per_second = product_flops(default_device()) / results[product]["seconds"]
    print(f"\nRoofline: one large product in {args.precision} has {per_second / 1e12:.3g} TFLOP/s.\n")
    print("| | classes | GFLOP | roofline, s | measured / roofline |\n| --- | ---: | ---: | ---: | ---: |")
    for n in args.classes:
        parts = step_flops(size, args.batch, packed_prompts(prompts(n)))
        rows = {("our step", n): sum(parts.values()), ("our text", n): parts["text"]}
        rows |= {key: rows["our step", n] for key in results if key[0].startswith("our step, ") and key[1] == n}
        if n == args.classes[0]:
            rows = {("our image tower", 1): parts["image tower"], **rows}
        for (case, classes), flops in rows.items():
            seconds = flops / per_second
            multiple = results[case, classes]["seconds"] / seconds
            classes = "" if case == "our image tower" else f"{classes:,}"
            print(f"| {case} | {classes} | {flops / 1e9:,.4g} | {seconds:.3g} | {multiple:.2f} |")
