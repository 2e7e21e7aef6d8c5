"""The table of encoders: kind -> modality, module and class. Imported without torch; the class on first use.

An encoder takes the tensors of its modality's Reader: `embed(**inputs)` gives what its blocks begin with, (B, N, D), and the mask
of it, `encode(x, mask)` makes an Encoded of that; `forward` is both in a row. `dim` is its width, `sizes(dial)` are its keys at
a `--size`. One without `embed` cannot be part of an early fusion. A causal one that reads texts token by token has `start()`,
which gives a `layers.State`, and `step(ids, state, encoded)`; of others a text that is being written is read anew for each token.

One that a fusion may drive as a language model has `drive(x, mask, between, state)`, its blocks over tokens that need not be
words, `depth`, the number of these blocks, and `word(ids, state)`, the next token as they begin with it. What they begin with is
`embed(**inputs)`, or `words(**inputs)` where that lacks what the blocks add themselves.
"""

from __future__ import annotations

from typing import Any

from mmkit import kinds
from mmkit.errors import ConfigError, nearest

ANY = "any"
ENCODERS = {
    "vit": ("image", "mmkit.encoders.image", "ViT"),
    "cnn": ("image", "mmkit.encoders.image", "CNN"),
    "transformer": ("text", "mmkit.encoders.text", "TextTransformer"),
    "audio": ("audio", "mmkit.encoders.audio", "AudioTransformer"),
    "series": ("series", "mmkit.encoders.series", "SeriesTransformer"),
    "video": ("video", "mmkit.encoders.video", "VideoEncoder"),
    "regions": ("regions", "mmkit.encoders.regions", "RegionEncoder"),
    "dvae": ("image", "mmkit.encoders.dvae", "DVAE"),
    "pretrained": (ANY, "mmkit.encoders.pretrained", "Pretrained"),
}


def build(name: str, modality: str, table: dict[str, Any], given: dict[str, Any]) -> Any:
    """Build the encoder that a `[encoder.NAME]` table names.

    Args:
        given: facts of model and data; each kind takes those it needs.

    Raises:
        ConfigError: an unknown kind or key (the nearest is named), or values that do not fit together.
    """
    cls = encoder_class(name, modality, table.get("kind", ""))
    return kinds.build(
        cls, table, f"encoder.{name}", f"{table['kind']} encoder", given | {"modality": modality}, [f"data.{modality}"]
    )


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Check an encoder's key that is one of several words.

    Raises:
        ValueError: it is none of them.
    """
    if value not in known:
        raise ValueError(f"{name} is {' or '.join(known)}, not {value!r}")


def check_kind(name: str, modality: str, kind: str) -> None:
    """Check without torch that `kind` encodes `modality`.

    Raises:
        ConfigError: it does not, or nothing does; what does is named.
    """
    path = f"encoder.{name}"
    modalities = {m for m, _, _ in ENCODERS.values()} - {ANY}
    if modality not in modalities:
        raise ConfigError(f"unknown key {path}", path, hint=nearest(modality, modalities))
    known = [k for k, (m, _, _) in ENCODERS.items() if m in (modality, ANY)]
    if kind not in known:
        raise ConfigError(f"no {modality} encoder of kind {kind!r}", path, where=f"{path}.kind", hint=nearest(str(kind), known))


def encoder_class(name: str, modality: str, kind: str) -> Any:
    """The class behind a kind."""
    check_kind(name, modality, kind)
    return kinds.load(ENCODERS[kind][1:])


def sizes(kind: str, dial: str) -> dict[str, Any]:
    """The keys that a kind has at a `--size`."""
    cls = kinds.load(ENCODERS[kind][1:])
    return cls.sizes(dial) if hasattr(cls, "sizes") else {}
