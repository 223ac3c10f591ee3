"""`resnest-edge models`."""

from __future__ import annotations

from resnest_edge.cli import options
from resnest_edge.cli.console import number, print_json, print_table


def command(json: options.Json = False) -> None:
    """List the published variants: size, native crop, published top-1.

    Example:

    $ resnest-edge models
    """
    from resnest_edge.models.variants import VARIANTS

    variants = list(VARIANTS.values())
    if json:
        print_json({"models": [variant.to_json() for variant in variants]})
        return
    print_table(
        "Published ResNeSts",
        ("Variant", "Also called", "Parameters, M", "MACs, G", "Crop", "Published top-1, %"),
        [
            (
                variant.name,
                ", ".join(variant.aliases),
                number(variant.parameters / 1e6),
                number(variant.macs / 1e9),
                str(variant.image_size),
                number(variant.top1),
            )
            for variant in variants
        ],
        caption="Any other: --weights PATH tells its shape; or a name such as 2s1x64d.",
    )
