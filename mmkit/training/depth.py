"""How deep in its encoder a parameter stands, by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable

# blocks.3, encoder.layers.3, layer.3, transformer.layer.3, encoder.stages.3, h.3: own encoders and those of transformers.
# Of lists within lists, such as the layers of ResNet's stages, the outer one counts.
BLOCK = re.compile(r"(?:^|\.)(?:[a-z_]*(?:block|layer|stage)s?|h)\.\d+\.")


def blocks(names: Iterable[str]) -> list[str]:
    """The beginnings of the names that stand in a block of their encoder, lowest first.

    >>> blocks(["embed.weight", "blocks.0.weight", "blocks.0.bias", "blocks.1.mlp.0.weight"])
    ['blocks.0.', 'blocks.1.']
    """
    return list(dict.fromkeys(found for name in names if (found := _block(name))))


def depths(names: Iterable[str]) -> dict[str, int]:
    """Parameter -> 0 where it stands above the last of its encoder's L blocks, 1 in that, L in the first, L + 1 below it.

    An encoder without blocks has 0 everywhere.

    Args:
        names: of all parameters of one encoder, in the order of the model.

    >>> depths(["embed.weight", "blocks.0.weight", "blocks.1.weight", "norm.weight"])
    {'embed.weight': 3, 'blocks.0.weight': 2, 'blocks.1.weight': 1, 'norm.weight': 0}
    """
    names = list(names)
    order = blocks(names)
    found, above = {}, not order
    for name in names:
        block = _block(name)
        above = above or bool(block)
        found[name] = len(order) - order.index(block) if block else 0 if above else len(order) + 1
    return found


def _block(name: str) -> str:
    match = BLOCK.search(name)
    return name[: match.end()] if match else ""
