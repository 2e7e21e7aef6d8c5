"""Configuration: dataclasses whose field docs are the help, and the levels that are merged into them. No torch here.

Rising order of precedence: automatic < recipe (and its base) < --init < --config < shortcuts (--lr, --text-encoder, …) < --set.
A field that is None is automatic: `mmkit.training.auto` decides it from data, model and device.
"""

from __future__ import annotations

import dataclasses
import importlib
import tomllib
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from mmkit.durations import readable, readable_length
from mmkit.errors import UsageError, UserError, misspelt, nearest
from mmkit.fields import doc, fill, inline

SIZES = ("tiny", "small", "base", "large")
# what a table keeps of the levels below where its `kind` changes, by the section it stands in
KEPT = {"loss": ("between", "of", "weight", "share", "anchor"), "project": ("dim",), "fusion": ("dim",)}

# what says what is learnt, beside what it is learnt with
OF_RECIPE = ("recipe", "input", "fusion", "loss", "without", "at")
FUSED = "fused"

Tables = dict[str, Any]
Level = Tables | Callable[[Tables], Tables]  # or what it is over the levels below


def modalities() -> dict[str, Any]:
    """The table of modalities, whose Specs are the tables of `[data]`."""
    # by name, for it lies a layer above: a row is added there and nowhere else
    return importlib.import_module("mmkit.data.modalities").MODALITIES


def known_augmentation(key: str, value: list[str]) -> None:
    """Check that each is one of a modality.

    Raises:
        UserError: it is not.
    """
    known = [name for row in modalities().values() for name in getattr(row, "AUGMENTATIONS", ())]
    for one in value:
        if one not in known:
            hint = nearest(one, known)
            raise UserError(f"{key} = {one!r} is none of {', '.join(known)}", hint=hint if hint.startswith("did you") else "")


@dataclass
class Data:
    path: str = doc("dataset folder or URL", "./data")
    hash: str | None = doc("content hash of the dataset (written by train)")
    workers: int | None = doc("threads that decode", least=1)
    limit: int | None = doc("use at most this many training rows", least=1)
    # and of an encoder that is not called like its modality, a table until that is known: see `Config.spec`
    modality: dict[str, Any] = inline("one table a modality: how it is read", modalities)  # noqa: RUF009  a field, as `doc` is

    def __getitem__(self, modality: str) -> Any:
        """The Spec of a modality."""
        return self.modality.setdefault(modality, modalities()[modality].Spec())


@dataclass
class Input:
    column: str | None = doc("column of the dataset; None: the first of its modality")
    modality: str | None = doc("what it is; None: what the column holds")
    encoder: str | None = doc(
        "the encoder that reads it; None: that of its modality, but a further column that is not of words has its own"
    )


@dataclass
class Project:
    dim: int | None = doc("width of the shared space", least=1)
    kind: str | dict[str, str] | None = doc(
        '"linear" (one Linear without bias), "mlp" (LayerNorm, Linear, GELU, Dropout, Linear), "clap" (Linear, ReLU, Linear) or '
        '"none"; or a table by encoder',
        one_of=("linear", "mlp", "clap", "none"),
    )
    hidden: int | None = doc("width of the mlp's hidden layer", least=1)
    dropout: float = doc("of the mlp", 0.3, least=0, most=1)


@dataclass
class Train:
    steps: int | str | None = doc("length of the run, a duration", least=1, check=readable_length)
    epochs: float | None = doc("length of the run in passes over the training rows", above=0)
    batch_size: int | None = doc("samples a step, over all processes and accumulated parts", least=2)
    batch_limit: int | None = doc("the largest batch that is chosen automatically; None: that of the size", least=2)
    lr: float | None = doc("peak learning rate", least=0)
    warmup: int | str = doc("linear warm-up, a duration", "5%", least=0, check=readable)
    layer_decay: float = doc(
        "each block of an encoder learns at this times the rate of the block above it (arXiv:2106.08254); 1: all alike",
        1.0,
        above=0,
        most=1,
    )
    weight_decay: float = doc("AdamW's, on matrices only (not on gains, biases, logit_scale)", 0.1, least=0)
    betas: list[float] = doc("AdamW's", [0.9, 0.98], least=0, most=0.99999, length=2)
    clip: float = doc("largest gradient norm; 0 for none", 1.0, least=0)
    init: str | None = doc("run or CLIP, SigLIP or CLAP checkpoint whose weights the run starts from")
    lora: int | None = doc("rank of adapters on the encoders (arXiv:2106.09685), merged at the end; see [[stage]]", least=1)
    lora_alpha: float | None = doc("what an adapter adds is scaled by this over the rank; None: twice the rank", above=0)
    lora_targets: list[str] | None = doc("last parts of the layers' names; None: query and value of each attention")
    interpolate: float | None = doc(
        "share of the fine-tuned weights in the last ones, the rest is what they began with (arXiv:2109.01903)", least=0, most=1
    )
    cache_limit: float = doc("GB of features of frozen encoders kept on disk; 0 for none", 20.0, least=0)
    seed: int = doc("of everything drawn", 0)
    checkpoint_every: int | str = doc("a duration", "5%", least=1, check=readable)
    eval_every: int | str = doc("a duration: how often val is measured", "10%", least=1, check=readable)
    log_every: int | str = doc("a duration: how often a line goes to metrics.jsonl", 10, least=1, check=readable)
    select: str | None = doc("the val metric by which the best weights are chosen; None: that of the first loss")
    patience: int | None = doc("stop after this many evaluations without a better one", least=1)
    amp: bool = doc("train in half precision where this device is faster with it", False)
    precision: str | None = doc("fp32 or bf16 (written by train: what --amp measured)", one_of=("fp32", "bf16"))
    accumulate: int = doc("parts a batch is computed in, one after the other; exact", 1, least=1)
    report_to: list[str] = doc("experiment trackers: tensorboard, wandb", [])
    grad_checkpoint: bool = doc("recompute activations in the backward pass: less memory, slower", False)


@dataclass
class Stage:
    train: list[str] = doc("patterns of parameter names that learn, e.g. project.*; !PATTERN takes its matches out", ["*"])
    top: float | None = doc(
        "of each encoder only this share of the blocks learns, from the top; train turns it into patterns", above=0, most=1
    )
    until: int | str | None = doc("end of the stage, a duration; None: the end of the run", least=1, check=readable)
    lr: float | None = doc("peak learning rate in this stage; None: train.lr", least=0)
    augment: list[str] | None = doc("in this stage; None: that of [data]", check=known_augmentation)


@dataclass
class Config:
    recipe: str = doc("the recipe this run started from", "clip")
    size: str | None = doc("tiny, small, base or large: width, depth, heads, resolution, batch, learning rate", one_of=SIZES)
    input: dict[str, Input] = doc("one table an input beside those that are named like their modality", {})
    encoder: dict[str, dict[str, Any]] = doc("one table a modality: kind, and the keys of that kind", {})
    project: Project = field(default_factory=Project, metadata={"doc": "from the encoders to the shared space"})
    fusion: dict[str, Any] = doc("of several inputs into one: kind, inputs, and the keys of that kind; or named tables", {})
    loss: dict[str, dict[str, Any]] = doc("one named table a loss: kind, between or of, weight, and the keys of that kind", {})
    without: dict[str, dict[str, Any]] = doc("tables that hold where the data lacks a kind of column", {})
    at: dict[str, dict[str, Any]] = doc("tables that hold at a --size, such as the paper's own at base", {})
    data: Data = field(default_factory=Data, metadata={"doc": "what is read, and how"})
    train: Train = field(default_factory=Train, metadata={"doc": "the loop"})
    stage: list[Stage] = field(default_factory=list, metadata={"doc": "stages of freezing, in order; empty: everything learns"})
    run: dict[str, Any] = doc("what train wrote about the run: versions, the reasons of automatic values, the best step", {})

    def modality_of(self, encoder: str) -> str:
        """What an encoder encodes: that of the inputs that it reads, else what it is called."""
        read = (one.modality for one in self.input.values() if one.encoder == encoder and one.modality)
        return next(read, encoder)

    def spec(self, encoder: str) -> Any:
        """How an encoder reads: the Spec of its own `[data.NAME]` where there is one, else that of its modality."""
        modality = self.modality_of(encoder)
        own = self.data.modality.get(encoder)
        if isinstance(own, dict):
            self.data.modality[encoder] = fill(modalities()[modality].Spec, own, f"data.{encoder}.")
        return self.data[modality] if own is None else self.data.modality[encoder]

    def spec_path(self, encoder: str) -> str:
        """Where that table stands."""
        return f"data.{encoder if encoder in self.data.modality else self.modality_of(encoder)}"

    @property
    def fusions(self) -> dict[str, dict[str, Any]]:
        """The table of each fusion by name: one that stands alone is called `fused`."""
        alone = "kind" in self.fusion or not all(isinstance(table, dict) for table in self.fusion.values())
        return {FUSED: self.fusion} if self.fusion and alone else self.fusion

    def fusion_path(self, name: str) -> str:
        """Where the table of a fusion stands: `fusion`, or `fusion.NAME` of several."""
        return "fusion" if self.fusions[name] is self.fusion else f"fusion.{name}"

    def is_language(self, name: str) -> bool:
        """Whether an input is of words."""
        return bool(modalities()[str(self.input[name].modality)].LANGUAGE)


def build(value: dict[str, Any], source: str = "") -> Config:
    """Turn merged tables into a Config.

    Args:
        source: the file they stand in, where there is one.

    Raises:
        ConfigError: an unknown key (the nearest is named), or a value that cannot be.
    """
    data = value.get("data")
    own = {name: table for name, table in data.items() if _reads_own(name, table, value)} if isinstance(data, dict) else {}
    if not own:
        return typing.cast(Config, fill(Config, value, source=source))
    rest = {name: table for name, table in value["data"].items() if name not in own}
    config = typing.cast(Config, fill(Config, value | {"data": rest}, source=source))
    config.data.modality |= own
    return config


def _reads_own(name: str, table: Any, tables: Tables) -> bool:
    """Whether `[data.NAME]` says how an encoder reads that has the name of its input: one that is named, or that data may have,
    and so no misspelt modality."""
    if not isinstance(table, dict) or name in modalities():
        return False
    named = any(name in tables.get(section, {}) for section in ("input", "encoder"))
    return named or may_be_column(name)


def may_be_column(name: str) -> bool:
    """Whether data may have a column of this name that is an input beside one of each modality; no misspelt modality is."""
    return name not in modalities() and not misspelt(name, modalities())


def merge(lower: Tables, upper: Tables, path: tuple[str, ...] = ()) -> Tables:
    """A level over those below it, key by key; a list replaces the lower one.

    Where `kind` changes, the table keeps of the lower ones what `KEPT` lists. `train.steps` drops a lower `train.epochs`, and
    the other way round.

    Args:
        path: of both in the whole.
    """
    if _changes("kind", lower, upper):
        kept = KEPT.get(path[0], ()) if path else ()
        lower = {key: value for key, value in lower.items() if key in kept}
    elif _changes("from", lower, upper):  # train wrote it beside the other checkpoint
        lower = {key: value for key, value in lower.items() if key != "architecture"}
    return _over(lower, upper, path, merge)


def one_level(sets: Iterable[Tables]) -> Tables:
    """Several --set as one level: of equal keys the last holds, and a `kind` drops no key that stands beside it."""
    together: Tables = {}
    for tables in sets:
        together = _union(together, tables)
    return together


def _union(lower: Tables, upper: Tables, path: tuple[str, ...] = ()) -> Tables:
    return _over(lower, upper, path, _union)


def _over(lower: Tables, upper: Tables, path: tuple[str, ...], merge_tables: Callable[..., Tables]) -> Tables:
    merged = dict(lower)
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if path == ("train",) and one in upper and other not in upper:
            merged.pop(other, None)
    for key, value in upper.items():
        old = merged.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        merged[key] = merge_tables(old, value, (*path, key)) if both else value
    return merged


def _changes(key: str, lower: Tables, upper: Tables) -> bool:
    """Whether `upper` gives `key` another value; a table by modality is merged with a lower one instead."""
    if key not in lower or key not in upper or lower[key] == upper[key]:
        return False
    return not (isinstance(lower[key], dict) and isinstance(upper[key], dict))


def differing(level: dict[str, Any], tables: dict[str, Any], path: str = "") -> list[str]:
    """The keys of a level whose value is not the one in resolved `tables`; a duration in words is steps there."""
    found = []
    for key, value in level.items():
        there = tables.get(key)
        if isinstance(value, dict):
            found += differing(value, there if isinstance(there, dict) else {}, f"{path}{key}.")
        elif value != there and not (isinstance(value, str) and isinstance(there, int)):
            found.append(f"{path}{key}")
    return found


def parse_set(text: str) -> dict[str, Any]:
    """`a.b=VALUE` as nested tables; VALUE is TOML, and what is not valid TOML is a plain string.

    >>> parse_set("train.warmup=10%")
    {'train': {'warmup': '10%'}}
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set takes KEY=VALUE, not {text!r}", hint="e.g. --set train.lr=5e-4")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return typing.cast(dict[str, Any], parsed)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UserError: it is missing or is not TOML; the line is named.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such configuration file", str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"not valid TOML ({e})", str(path)) from e


def write_toml(path: Path, config: Config) -> None:
    """Write a Config whole or not at all; None fields are left out, for TOML has no null."""
    from mmkit.files import toml_text, write_text

    write_text(path, toml_text(to_dict(config)))


def to_dict(config: Any) -> dict[str, Any]:
    """A Config as nested tables without its None fields."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items() if v is not None}
        return [clean(v) for v in value] if isinstance(value, list) else value

    tables = clean(dataclasses.asdict(config))
    if isinstance(config, Config):
        tables["data"] |= tables["data"].pop("modality")
    return tables


def recipes() -> dict[str, Any]:
    """Recipe name -> its file."""
    folder = resources.files("mmkit") / "recipes"
    return {f.name.removesuffix(".toml"): f for f in sorted(folder.iterdir(), key=lambda f: f.name) if f.name.endswith(".toml")}


def recipe(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe's tables, merged over its `base`; `name` is a shipped recipe or a TOML file.

    Args:
        above: the recipes that name this one as their base.

    Raises:
        UserError: there is no such recipe; the nearest is named.
    """
    known = recipes()
    if name in known:
        tables = tomllib.loads(known[name].read_text(encoding="utf-8"))
    elif name.endswith(".toml"):
        tables = read_toml(Path(name))
    else:
        raise UsageError(f"no recipe {name!r}", hint=nearest(name, known))
    base = tables.pop("base", None)
    if base is None:
        return tables
    if not isinstance(base, str) or base in (name, *above):
        raise UserError(f"base = {base!r} is not another recipe", f"recipe {name}", nearest(str(base), known))
    return merge(recipe(base, (name, *above)), tables)


def resolve(recipe_name: str | None, config_file: Path | None, levels: Iterable[Level], init: Tables | None = None) -> Config:
    """Merge the levels recipe < init < config file < levels and build the Config.

    Args:
        recipe_name: None where `init` stands in for it.
        levels: in rising order.
        init: what `--init` takes from a run or a checkpoint; with a recipe, that one's losses, inputs and fusion count alone.

    Returns:
        The configuration; where nothing says the size, `at` holds all of it for each size of which the recipe says something.

    Raises:
        UserError: see `recipe`, `read_toml` and `build`.
    """
    tables: Tables = {}
    if recipe_name is not None:
        tables = recipe(recipe_name)
        build(tables, f"recipe {recipe_name}")
        init = {key: value for key, value in (init or {}).items() if key not in OF_RECIPE}
    at = tables.pop("at", {})
    given = read_toml(config_file) if config_file is not None else {}
    build(given, str(config_file or ""))
    above: list[Level] = [init or {}, given, *levels]
    named = {"recipe": recipe_name} if recipe_name else {}
    found = _over_all(tables, above) | named
    sizes = {size: _over_all(merge(tables, special), above) | named for size, special in at.items()}
    if "size" in found:
        return build(sizes.get(found["size"], found))
    return build(found | {"at": sizes})


def _over_all(tables: Tables, levels: Iterable[Level]) -> Tables:
    for level in levels:
        tables = merge(tables, level(tables) if callable(level) else level)
    return tables
