"""Where the features of regions come from that no file holds: an encoder's map, or a detector.

Each is a class made with the name of a model, which takes the encoded bytes of a picture and the regions that the row has, and
gives {boxes, features, …, width, height} of the picture, or None where there are none. `stamp` says what made them, `width` how
many values a feature has.
"""

from __future__ import annotations

from pathlib import Path


def weights_stamp(folder: Path) -> str:
    """Changes when the weights of a checkpoint's folder do."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    return " ".join(f"{path.name}-{path.stat().st_size}-{path.stat().st_mtime_ns}" for path in files)
