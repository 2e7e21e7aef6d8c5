"""The table of fusions: kind -> module and class. Imported without torch; the class on first use.

A fusion reads the inputs it is given, in their order, and gives one Encoded. It is the part `fused` of a model, or the one that
its own table is called. `reads` says what of each input it takes: `tokens` (tokens, mask and pooled, as encoded), `embedded`
(what an encoder's blocks begin with, and the mask), `pooled`. `spans(parts)` says where in its tokens those of an input stand. It
holds no parameter of an encoder, so what is frozen stays frozen and nothing is saved twice. An input that a row lacks comes with
zeros and a mask that shows nothing.

One that is `causal` in its input `query` may be run token by token: `start(parts)` of all other inputs gives a `layers.State`,
`step(token, state)` the next token of the query (B, 1, width) as fused (B, 1, D).

One that `drives` an input's encoder, a language model, reads it `embedded` and runs its blocks (`drive`, see `mmkit.encoders`).
It is given the `encoders` of its inputs and keeps that one where its parameters are not its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmkit import kinds
from mmkit.errors import ConfigError, nearest

FUSIONS = {
    "early": ("mmkit.fusion.attention", "Early"),
    "merged": ("mmkit.fusion.attention", "Merged"),
    "cross": ("mmkit.fusion.attention", "Cross"),
    "gated-cross": ("mmkit.fusion.attention", "GatedCross"),
    "concat": ("mmkit.fusion.late", "Concat"),
    "sum": ("mmkit.fusion.late", "Sum"),
    "product": ("mmkit.fusion.late", "Product"),
    "gate": ("mmkit.fusion.late", "Gate"),
    "logits": ("mmkit.fusion.late", "Logits"),
    "hybrid": ("mmkit.fusion.hybrid", "Hybrid"),
    "prefix": ("mmkit.fusion.language", "Prefix"),
    "resampler": ("mmkit.fusion.resampler", "Resampler"),
    "flamingo": ("mmkit.fusion.language", "Flamingo"),
    "raster": ("mmkit.fusion.raster", "Raster"),
}


def check_kind(table: Mapping[str, Any]) -> None:
    """Check without torch that the kind of a `[fusion]` table exists.

    Raises:
        ConfigError: there is no such kind; the nearest is named.
    """
    kind = table.get("kind", "")
    if not isinstance(kind, str) or kind not in FUSIONS:
        raise ConfigError(f"no fusion of kind {kind!r}", "fusion.kind", where="fusion.kind", hint=nearest(str(kind), FUSIONS))


def fusion_class(table: Mapping[str, Any]) -> Any:
    """The class behind the kind of the `[fusion]` table."""
    check_kind(table)
    return kinds.load(FUSIONS[table["kind"]])


def build(table: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Build the fusion of the `[fusion]` table.

    Args:
        given: facts, of which each kind takes those it needs: widths {input: width of what it reads}, language (inputs of words),
            encoders {input: encoder}, contexts {input of words: its longest text}, grids {input: codes on a side of it, where its
            encoder has any}, times {input: the most frames of it and the tokens of each, where it has any}.

    Raises:
        ConfigError: an unknown kind or key (the nearest is named), or values that make no fusion.
    """
    keys = {key: value for key, value in table.items() if key != "inputs"}
    return kinds.build(fusion_class(table), keys, "fusion", f"{table['kind']} fusion", given)
