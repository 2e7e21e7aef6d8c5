"""The dataset card: with its `configs:` any tool that reads Hugging Face folders opens the shards and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmkit.data.modalities import MODALITIES
from mmkit.data.shards import Dataset
from mmkit.files import write_text

MARK = "Written by mmkit prep"
# the second is for folders where the user keeps a README of their own
NAMES = ("README.md", ".huggingface.yaml")
HUB_LICENSES = {"CC0-1.0": "cc0-1.0", "CC-BY-4.0": "cc-by-4.0", "MIT": "mit", "Apache-2.0": "apache-2.0"}


def is_ours(path: Path) -> bool:
    """The file is a card that mmkit wrote."""
    return path.is_file() and MARK in path.read_text(encoding="utf-8", errors="replace")


def write_card(out: Path, manifest: dict[str, Any], say: Callable[[str], None]) -> None:
    """Write README.md, or `.huggingface.yaml` beside a README of the user's."""
    readme, yaml = (out / name for name in NAMES)
    if not readme.exists() or is_ours(readme):
        write_text(readme, f"---\n{_front_matter(manifest)}---\n\n<!-- {MARK} -->\n{_text(manifest)}")
        if is_ours(yaml):
            yaml.unlink()
    elif not yaml.exists() or is_ours(yaml):
        # an empty dataset_info hides what the user's README may say of other files
        write_text(yaml, f"# {MARK}\n{_front_matter(manifest)}dataset_info: []\n")
        say("README.md is yours and stays as it is: the dataset card is .huggingface.yaml")
    else:
        say("README.md and .huggingface.yaml are yours: no dataset card is written, and load_dataset may see other files")


def _front_matter(manifest: dict[str, Any]) -> str:
    digest = Dataset("", manifest, None).hash
    lines = [
        f"pretty_name: {json.dumps(manifest['name'], ensure_ascii=False)}",
        f"license: {HUB_LICENSES.get(manifest['license'], 'other')}",
        "configs:",
        "- config_name: default",
        # `datasets` caches by folder name and this text alone: without a digest of the content it serves the rows of
        # another folder of the same name, or those from before a --force
        f"  description: content {digest}",
        "  data_files:",
    ]
    for name, split in manifest["splits"].items():
        # quoted, as `1` or `no` would be no text in YAML
        lines += [f'  - split: "{name}"', f'    path: "{name}-*-of-{len(split["shards"]):05d}.parquet"']
    return "\n".join(lines) + "\n"


def _text(manifest: dict[str, Any]) -> str:
    captioned = any(split["captions"] for split in manifest["splits"].values())
    heads = ["split", "rows", *(["captions"] if captioned else [])]
    lines = [[name, *(f"{split[head]:,}" for head in heads[1:])] for name, split in manifest["splits"].items()]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *lines])
    return f"""# {manifest["name"]}

Prepared with `mmkit prep {manifest["source"]["kind"]}` from `{manifest["source"]["path"]}`.

{rows}

Columns: id, {", ".join(manifest["columns"])}. One row is one sample.
{_lacking(manifest)}{"".join(_modality(kind, manifest) for kind in MODALITIES if kind in manifest)}{_target(manifest)}
License: {manifest["license"]}

```python
datasets.load_dataset("{manifest["name"]}")
```
"""


def _lacking(manifest: dict[str, Any]) -> str:
    """Which columns are null in some rows."""
    filled = {column: sum(splits.values()) for column, splits in manifest["audit"]["filled"].items()}
    rows = sum(split["rows"] for split in manifest["splits"].values())
    lacking = [f"{column} in {rows - n:,}" for column, n in filled.items() if n < rows]
    return f"Null where a row lacks it: {', '.join(lacking)} of {rows:,} rows.\n" if lacking else ""


def _target(manifest: dict[str, Any]) -> str:
    """Which numbers are to be predicted."""
    if not (found := manifest.get("target")):
        return ""
    return f"\nTarget: numbers from {found['min']:g} to {found['max']:g}, mean {found['mean']:.3g}.\n"


def _modality(kind: str, manifest: dict[str, Any]) -> str:
    """What a user has to know of the values of one modality."""
    facts = manifest[kind]
    if "seconds_p50" in facts:
        lengths = f"Median {facts['seconds_p50']:g} s, longest {facts['seconds_max']:g} s, most at {facts['rate']:,} Hz."
        return f"\nSounds: {facts['treatment']}. {lengths}\n"
    if "median_width" in facts:
        resized = f"; short side at most {facts['resize']} px" if facts["resize"] else ""
        sides = f"Median {facts['median_width']} x {facts['median_height']} px."
        name = f"{MODALITIES[kind].FEATURE['_type']}s"
        return f"\n{name}: {facts['treatment']}{resized}. {sides}\n"
    return f"\nSeries: up to {facts['channels']} channels x {facts['length_max']} values.\n" if "channels" in facts else ""
