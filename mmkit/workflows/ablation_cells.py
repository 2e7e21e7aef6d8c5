"""The cells of an ablation: what each of them varies or leaves out, and the configuration that follows. No training here."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmkit import encoders, foreign, fusion, losses
from mmkit.config import FUSED, Config, Tables, build, merge, one_level, parse_set, recipes, to_dict
from mmkit.config import recipe as recipe_tables
from mmkit.data.modalities import MODALITIES
from mmkit.data.shards import Dataset
from mmkit.errors import UsageError, UserError, nearest, setting, toml
from mmkit.training.inputs import resolve_inputs

LOSS, RECIPE = "loss.", "recipe"
DURATIONS = ("steps", "warmup", "checkpoint_every", "eval_every", "log_every")
PER_PAIR = ("weights", "temperatures")  # keys of losses that name pairs of inputs
LONGEST = 100  # characters of the name of a folder
# what cannot differ between cells that are compared
FIXED = {
    "train.seed": "--seeds N trains every cell with N seeds",
    "data.path": "cells are compared on the same rows; give each dataset a folder of its own",
}


@dataclass(frozen=True)
class Cell:
    """One configuration of the grid.

    Args:
        values: key -> value that it has instead of the base's.
        drop: the inputs and losses that it is trained without.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """As a person reads it.

        >>> Cell({"loss.itc.kind": "sigmoid"}).title
        'loss.itc.kind=sigmoid'
        """
        return self._told(lambda key: key)

    @property
    def short(self) -> str:
        """The title with the last two parts of each key, where that tells them apart.

        >>> Cell({"loss.itc.kind": "sigmoid"}).short
        'itc.kind=sigmoid'
        """
        ends = {key: ".".join(key.split(".")[-2:]) for key in self.values}
        return self._told(lambda key: ends[key] if list(ends.values()).count(ends[key]) == 1 else key)

    def _told(self, key_as: Callable[[str], str]) -> str:
        if self.drop:
            return f"without {' and '.join(self.drop)}"
        return ", ".join(f"{key_as(key)}={_word(value)}" for key, value in self.values.items()) or "whole"

    @property
    def name(self) -> str:
        """As a folder is called: the title, with a hash of it where that is no name of a folder."""
        title = "+".join(
            [*(f"{key}={_word(value)}" for key, value in sorted(self.values.items())), *(f"without-{d}" for d in self.drop)]
        )
        plain = re.sub(r"[^\w.=+-]+", "-", title).strip("-.")[:LONGEST] or "whole"
        return plain if plain == (title or "whole") else f"{plain}-{hashlib.sha256(title.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Grid:
    """Every combination of the values, then the first of them without each part in turn; each with every seed."""

    vary: Mapping[str, Sequence[Any]]
    drop: Sequence[str]
    seeds: Sequence[int]

    def cells(self) -> list[Cell]:
        """The first is what the others are compared with."""
        products = [Cell(dict(zip(self.vary, values, strict=True))) for values in itertools.product(*self.vary.values())]
        return [*products, *(Cell(products[0].values, (part,)) for part in self.drop)]

    def jobs(self) -> Iterator[tuple[Cell, int]]:
        """Seed by seed, so that the first seed of all cells is there early."""
        return ((cell, seed) for seed in self.seeds for cell in self.cells())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else toml(value)


def parse_vary(words: Sequence[str]) -> dict[str, list[Any]]:
    """KEY=A,B of each --vary: a value is TOML, and what is not valid TOML is a plain string.

    Raises:
        UsageError: it is none, or the key cannot be varied.

    >>> parse_vary(["train.lr=1e-3,5e-4", 'data.image.augment=[],["crop", "flip"]'])
    {'train.lr': [0.001, 0.0005], 'data.image.augment': [[], ['crop', 'flip']]}
    """
    found: dict[str, list[Any]] = {}
    for word in words:
        key, equals, values = word.partition("=")
        key = key.strip()
        if not equals or not key or not values.strip():
            raise UsageError(f"--vary takes KEY=A,B, not {word!r}", hint="e.g. --vary loss.itc.kind=infonce,sigmoid")
        if key in FIXED:
            raise UsageError(f"{key} cannot be varied", "--vary", FIXED[key])
        for text in split_values(values):
            value = _value(key, text.strip())
            if value not in found.setdefault(key, []):
                found[key].append(value)
    return found


def _value(key: str, text: str) -> Any:
    value: Any = parse_set(f"{key}={text}")
    for part in key.split("."):
        value = value[part.strip()]
    return value


def split_values(text: str) -> list[str]:
    """At the commas outside brackets and quotes.

    >>> split_values('[1,2],"a,b",c')
    ['[1,2]', '"a,b"', 'c']
    """
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in "[{") - (char in "]}")
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _nested(key: str, value: Any) -> Tables:
    for part in reversed(key.split(".")):
        value = {part.strip(): value}
    return dict(value)


def varied(tables: Tables, cell: Cell) -> Tables:
    """The tables of a base with the values of a cell over them, as another --set would lay them.

    Raises:
        ConfigError: there is no such key, or it cannot have this value.
    """
    found = merge(tables, one_level(_nested(key, value) for key, value in cell.values.items() if key != RECIPE))
    build(found)
    return found


def pinned(tables: Tables, made: Config, cell: Cell) -> Tables:
    """The tables of a cell with what is measured or learnt once for all cells: size, workers, precision, length, tokenizers.

    What the cell says itself stays; so does a length in epochs or samples, which no clock measures.

    Args:
        made: the resolved configuration of the first cell.
    """
    train, known = tables["train"], to_dict(made)
    once: dict[str, Any] = {
        "size": made.size,
        "data": {"workers": made.data.workers},
        "train": {"precision": made.train.precision},
    }
    own = varied(tables, cell).get("encoder", {})
    for name, table in made.encoder.items():
        modality = made.modality_of(name)
        kinds = (table["kind"], own.get(name, table).get("kind", table["kind"]))
        if MODALITIES[modality].LANGUAGE and foreign.KIND not in kinds:
            once["data"][modality] = known["data"][modality]
    measured = {key: known["train"][key] for key in DURATIONS if "min" in str(train.get(key))}
    if train.get("steps") is None and train.get("epochs") is None:
        measured["steps"] = made.train.steps
    return varied(merge(merge(once, tables), {"train": measured}), cell)


def drop(config: Config, data: Dataset, parts: Sequence[str]) -> Config:
    """A configuration without some of its inputs or losses: the model has them not, and is trained without them.

    A fusion of which one input is left goes, and its heads read that one; a loss of pairs goes with either of its inputs, one
    that compares more inputs goes on with the others.

    Args:
        parts: `loss.NAME`, an input, or a modality for all inputs of it.

    Raises:
        UsageError: there is no such part, nothing to learn is left without it, or a loss compares the others with it.
    """
    config, _ = resolve_inputs(build(to_dict(config)), data)
    for part in parts:
        if part.startswith(LOSS):
            _drop_loss(config, part)
        else:
            _drop_input(config, part)
    read = {name for own, table in config.loss.items() for name in losses.loss_class(own, table).names(table)}
    used = {part.partition(".")[0] for part in read}
    _keep_fusions(config, {name: table["inputs"] for name, table in config.fusions.items() if name in used})
    return config


def parts_of(config: Config, data: Dataset) -> list[str]:
    """Everything that can be left out, one at a time."""
    whole, _ = resolve_inputs(build(to_dict(config)), data)
    found = []
    for part in [*whole.input, *(f"{LOSS}{name}" for name in whole.loss)]:
        try:
            drop(config, data, [part])
            found.append(part)
        except UserError:
            continue
    return found


def _drop_loss(config: Config, part: str) -> None:
    name = part.removeprefix(LOSS)
    if name not in config.loss:
        raise UsageError(f"there is no loss {name!r}", f"--drop {part}", nearest(part, _parts(config)))
    if len(config.loss) == 1:
        raise UsageError(f"{part} is all that is learnt", f"--drop {part}", "a recipe of several losses can do without one")
    del config.loss[name]


def _drop_input(config: Config, part: str) -> None:
    gone = [part] if part in config.input else [n for n, one in config.input.items() if one.modality == part]
    if not gone:
        raise UsageError(f"there is no input {part!r}", f"--drop {part}", nearest(part, _parts(config)))
    left = [name for name in config.input if name not in gone]
    fused = {own: [name for name in table["inputs"] if name not in gone] for own, table in config.fusions.items()}
    compared = all("of" not in table for table in config.loss.values())
    _keep_fusions(config, {own: names for own, names in fused.items() if len(names) > 1})
    config.loss = {
        name: kept for name, table in config.loss.items() if (kept := _without(name, table, gone, left, fused, part)) is not None
    }
    if not config.loss:
        raise _nothing_left(part, compared)
    config.input = {name: config.input[name] for name in left}
    _forget_encoders(config)


def _keep_fusions(config: Config, inputs: Mapping[str, list[str]]) -> None:
    """Leave out the fusions that are not named, and give the others these inputs."""
    kept = {own: table | {"inputs": list(inputs[own])} for own, table in config.fusions.items() if own in inputs}
    config.fusion = kept.get(FUSED, {}) if "kind" in config.fusion else kept


def _without(
    own: str, table: dict[str, Any], gone: list[str], left: list[str], fused: Mapping[str, list[str]], part: str
) -> dict[str, Any] | None:
    """The table of a loss where some inputs are gone; None where it goes with them.

    Args:
        fused: what each fusion has left; where that is one input, it stands for what was fused.
    """
    known = {name: name for name in left}
    for fusion_name, names in fused.items():
        whole = len(names) > 1
        known |= {fusion_name: fusion_name if whole else names[0]} if names else {}
        known |= {f"{fusion_name}.{name}": f"{fusion_name}.{name}" if whole else name for name in names}
    if "of" in table:
        return {**table, "of": known[table["of"]]} if table["of"] in known else None
    if "between" not in table and "anchor" not in table:
        return table
    compared = list(dict.fromkeys(known[name] for name in table.get("between", left) if name in known))
    if len(compared) < 2:
        return None
    if table.get("anchor") in gone:
        what = f"without {part} nothing is left that the loss compares the others with"
        raise UsageError(what, f"--drop {part}", f"{setting(f'loss.{own}.anchor', compared[0])} compares them with {compared[0]}")
    pairs = {f"{a}-{b}" for a in compared for b in compared}
    of_pairs = {key: {pair: table[key][pair] for pair in table[key] if pair in pairs} for key in PER_PAIR if key in table}
    return table | {"between": compared} | of_pairs


def _nothing_left(part: str, compared: bool) -> UsageError:
    fusions = ", ".join(name for name in recipes() if "fusion" in recipe_tables(name))
    if not compared:
        what = f"without {part} nothing is left to learn from"
        return UsageError(what, f"--drop {part}", f"a model of several inputs can do without one: --recipe {fusions}")
    what = (
        f"a model that compares cannot do without {part}: recall compares two modalities, and of one there is nothing to compare"
    )
    hint = f"models with a target of their own can: --recipe {fusions}; mmkit contribution masks instead"
    return UsageError(what, f"--drop {part}", hint)


def _forget_encoders(config: Config) -> None:
    """Leave out what is said of encoders that nothing reads any more."""
    read = {one.encoder for one in config.input.values()}
    unread = [name for name in config.encoder if name not in read]
    config.encoder = {name: table for name, table in config.encoder.items() if name in read}
    config.data.modality = {name: spec for name, spec in config.data.modality.items() if name not in unread}
    if isinstance(config.project.kind, dict):
        config.project.kind = {name: kind for name, kind in config.project.kind.items() if name in read}
    beginnings = tuple(f"{sign}encoder.{name}." for name in unread for sign in ("", "!"))
    if not config.fusion:
        beginnings += ("fusion.", "!fusion.")
    for stage in config.stage:
        stage.train = [pattern for pattern in stage.train if not pattern.startswith(beginnings)]
    config.stage = [stage for stage in config.stage if stage.train]


def _parts(config: Config) -> list[str]:
    modalities = [str(one.modality) for one in config.input.values()]
    return list(dict.fromkeys([*config.input, *modalities, *(f"{LOSS}{name}" for name in config.loss)]))


def reopened(config: Config) -> Tables:
    """The tables of a run with its automatic values automatic again, so that they follow what is varied.

    What a run measured or learnt, its length, precision and words, stays; widths that are those of its size go with that.
    """
    tables = to_dict(config)
    words = tuple(f"data.{name}." for name, row in MODALITIES.items() if row.LANGUAGE)
    stays = ("train.steps", "train.precision", "data.workers", *words)
    for path in tables.pop("run", {}).get("automatic", {}):
        if path.startswith(("train.", "project.", "data.", "loss.")) and not path.startswith(stays) and not path.endswith(".of"):
            _remove(tables, path.split("."))
    tables["data"].pop("hash", None)
    size = str(config.size)
    for table in tables.get("encoder", {}).values():
        _remove_equal(table, encoders.sizes(table["kind"], size))
    for name, table in config.fusions.items():
        written = tables["fusion"] if table is config.fusion else tables["fusion"][name]
        _remove_equal(written, fusion.fusion_class(table).sizes(size))
    return tables


def _remove(tables: Any, path: list[str]) -> None:
    for part in path[:-1]:
        tables = tables.get(part) if isinstance(tables, dict) else None
    if isinstance(tables, dict):
        tables.pop(path[-1], None)


def _remove_equal(table: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if table.get(key) == value:
            del table[key]


def differences(one: Tables, other: Tables, path: str = "") -> dict[str, tuple[Any, Any]]:
    """The keys whose values differ, `None` where one has it not."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= differences(a, b, f"{path}{key}.")
        elif a != b:
            found[f"{path}{key}"] = (a, b)
    return found
