"""Which inputs a model has: those that its losses and its fusion name, each with its column of the dataset and its encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmkit import losses
from mmkit.config import FUSED, Config, Input, build, merge, to_dict
from mmkit.data.modalities import MODALITIES
from mmkit.data.shards import Dataset
from mmkit.errors import ConfigError, UserError, nearest, setting
from mmkit.kinds import keys_of


def resolve_inputs(config: Config, data: Dataset) -> tuple[Config, dict[str, str]]:
    """Fill in what depends on which columns the data has; returns the configuration and key -> reason.

    Raises:
        UserError: the data lacks what is named.
    """
    reasons: dict[str, str] = {}
    there = [name for name, row in MODALITIES.items() if _columns(row, data)]
    laid = config.without
    config = _without(config, data, there, reasons)
    laid = {f"without.{kind}": tables for kind, tables in laid.items() if f"without.{kind}" in reasons}
    paired = [table for name, table in config.loss.items() if _takes(name, table, "between")]
    unnamed = paired and not any("between" in table for table in paired)
    if unnamed and len(there) == 1 and data.columns_of("label") and not config.input:
        where, hint = f"the dataset has {there[0]} and label", "--recipe classify learns its labels"
        raise UserError("a loss of pairs, and there is one input alone", where, hint)
    further = _further(config, data)
    for name, column in further.items():
        config.input.setdefault(name, Input(column))
    for name, one in config.input.items():
        _complete(name, one, data)
    there += further
    _check_compared(config, there, data)
    if any("between" not in table for table in paired):
        _encoders(config, there, reasons, "the data has it")
    for table in paired:
        if "between" not in table and "anchor" not in table:
            table["anchor"] = next((name for name in there if MODALITIES[name].LANGUAGE), there[0])
    for name, table in config.loss.items():
        if _takes(name, table, "of") and "of" not in table:
            table["of"] = next(iter(config.fusions)) if config.fusion else _unsaid(there, data)
            reasons[f"loss.{name}.of"] = (
                f"{table['of']} ({'what is fused' if config.fusion else 'the first input that is not words'})"
            )
    for name, table in config.fusions.items():
        if not table.get("inputs"):
            table["inputs"] = _fused(config, there, further)
            reasons[f"{config.fusion_path(name)}.inputs"] = f"{table['inputs']} (an input of each modality, named ones first)"
    used = _used(config, there)
    _read(config, used, there, laid, data, reasons)
    config.input = {name: config.input[name] for name in used}
    encoders = {one.encoder for one in config.input.values()}
    for name in [name for name in config.encoder if name not in encoders]:
        # of itself no recipe names a checkpoint: somebody meant it
        if given := config.encoder[name].get("from"):
            hint = f"the losses and the fusion read: {', '.join(config.input)}"
            raise ConfigError(
                f"nothing reads the encoder {name} from {given}", f"encoder.{name}.from", where=data.path, hint=hint
            )
        del config.encoder[name]
        reasons[f"encoder.{name}"] = "left out (no loss and no fusion reads it)"
    for name in config.encoder:
        if name != (modality := config.modality_of(name)) and not MODALITIES[modality].LANGUAGE:
            # what is said of the modality holds of it, too, where nothing else is said
            config.data.modality[name] = to_dict(config.data[modality]) | config.data.modality.get(name, {})
            config.spec(name)
    kept = {*config.encoder, *(one.modality for one in config.input.values())}
    if unread := next((name for name in config.data.modality if name not in kept and name not in MODALITIES), None):
        hint = nearest(unread, config.encoder)
        raise ConfigError(f"no encoder is called {unread!r}", f"data.{unread}", where=f"data.{unread}", hint=hint)
    config.data.modality = {name: spec for name, spec in config.data.modality.items() if name in kept}
    return config, reasons


def _read(
    config: Config, used: list[str], there: list[str], laid: Mapping[str, Any], data: Dataset, reasons: dict[str, str]
) -> None:
    """Complete the inputs that are used, each with an encoder.

    Raises:
        UserError: the data lacks one; what else the model can read is named.
    """
    for name in used:
        one = config.input.setdefault(name, Input())
        if name not in MODALITIES and one.column is None:
            raise ConfigError(f"there is no input {name!r}", "loss", hint=nearest(name, [*config.input, *MODALITIES]))
        try:
            _complete(name, one, data)
        except UserError as e:
            e.hint = _instead(config, name, there, laid) or e.hint
            raise
        _encoders(config, [str(one.encoder)], reasons, f"it reads {one.column}")


def _check_compared(config: Config, there: list[str], data: Dataset) -> None:
    """Whether what losses of pairs compare are inputs, before one is taken for a modality that the data lacks.

    Raises:
        ConfigError: one is not; the nearest is named.
    """
    known = [*there, *config.input]
    for name, table in config.loss.items():
        between, anchor = table.get("between", known), table.get("anchor", "all")
        for one in between:
            if one not in known and one not in MODALITIES:
                path = f"loss.{name}.between"
                raise ConfigError(f"there is no input {one!r}", path, where=path, hint=nearest(one, known))
        if anchor not in [*between, "all"]:
            path = f"loss.{name}.anchor"
            raise ConfigError(f"there is no input {anchor!r}", path, where=path, hint=nearest(str(anchor), [*between, "all"]))


def seen_by(encoder: str, config: Config, data: Dataset) -> Dataset:
    """The data as one encoder sees it: without the columns of its modality that others alone read."""
    read = {one.column for one in config.input.values() if one.encoder == encoder}
    others = {one.column for one in config.input.values() if one.modality == config.modality_of(encoder)} - read
    columns = {name: kind for name, kind in data.columns.items() if name not in others}
    return replace(data, manifest=data.manifest | {"columns": columns}) if others else data


def _further(config: Config, data: Dataset) -> dict[str, str]:
    """The inputs that the data has beside one of each modality, each called like its column: depth beside pictures, say; those
    that no other input reads."""
    read = {one.column for name, one in config.input.items() if name != one.column}
    return {name: name for name in _beside(data) if name not in read}


def _beside(data: Dataset) -> list[str]:
    """The columns of each modality but words that stand behind its first."""
    return [name for row in MODALITIES.values() if not row.LANGUAGE for name in data.columns_of(row.KINDS[0])[1:]]


def _without(config: Config, data: Dataset, there: list[str], reasons: dict[str, str]) -> Config:
    """The tables of `without` laid over the others where the data lacks the kind of column (a loss that is false there is left
    out); an input that only what they replace has read goes with it, and one of that column that nothing reads."""
    tables, lacking = to_dict(config), set()
    for kind, over in tables.pop("without", {}).items():
        if not data.columns_of(kind):
            lacking.add(kind)
            tables = merge(tables, over)
            tables["loss"] = {name: table for name, table in tables["loss"].items() if table is not False}
            reasons[f"without.{kind}"] = "applies (the data has none)"
    found = build(tables)
    read = _may_read(found, there)
    unread = {name for name, one in found.input.items() if one.column in lacking and name not in read}
    for name in _may_read(config, there) - read | unread:
        found.input.pop(name, None)
    return found


def _may_read(config: Config, there: list[str]) -> set[str]:
    """The inputs that are used; a fusion that names none, as after another `kind`, may read all that are named."""
    return set(_used(config, there)).union(*(config.input for table in config.fusions.values() if not table.get("inputs")))


def _takes(name: str, table: dict[str, Any], key: str) -> bool:
    """Whether the kind of a loss has a key."""
    return key in keys_of(losses.loss_class(name, table))


def _columns(row: Any, data: Dataset) -> list[str]:
    return [name for kind in row.KINDS for name in data.columns_of(kind)]


def _complete(name: str, one: Input, data: Dataset) -> None:
    """Column, modality and encoder of an input."""
    if one.column is not None and one.modality is None:
        if one.column not in data.columns:
            path, columns = f"input.{name}.column", [c for row in MODALITIES.values() for c in _columns(row, data)]
            raise ConfigError(
                f"the dataset has no column {one.column!r}", path, where=data.path, hint=nearest(one.column, columns)
            )
        kind = data.columns[one.column]
        one.modality = next((m for m, row in MODALITIES.items() if kind in row.KINDS), None)
        if one.modality is None:
            raise UserError(f"no encoder reads a column of {kind}", f"input.{name}.column = {one.column}")
    one.modality = one.modality or name
    if one.modality not in MODALITIES:
        path = f"input.{name}.modality"
        raise ConfigError(f"no modality {one.modality!r}", path, where=path, hint=nearest(one.modality, MODALITIES))
    one.column = one.column or _column(MODALITIES[one.modality].KINDS[0], data)
    one.encoder = one.encoder or (name if one.column in _beside(data) else one.modality)


def _instead(config: Config, lacking: str, there: list[str], laid: Mapping[str, Any]) -> str:
    """The options that let a fusion, and what else names it, read another modality for one that the data lacks; "" where it is
    no fusion that does, a command makes what it lacks, or the data has no other.

    Args:
        laid: the tables of `without` that apply, which lie over what is set.
    """
    tables = {f"{config.fusion_path(name)}.inputs": table.get("inputs", []) for name, table in config.fusions.items()}
    read = {name for inputs in tables.values() for name in inputs}
    other = next((name for name in there if name not in read and name in MODALITIES and not MODALITIES[name].LANGUAGE), None)
    row = MODALITIES.get(lacking)
    if other is None or lacking not in read or row is None or row.LANGUAGE or hasattr(row, "MADE_BY"):
        return ""
    tables |= {f"loss.{name}.between": table.get("between", []) for name, table in config.loss.items()}
    named = {key: [other if name == lacking else name for name in names] for key, names in tables.items() if lacking in names}
    own = {key: next((f"{over}.{key}" for over, tables in laid.items() if _says(tables, key)), key) for key in named}
    return f"{' '.join(setting(own[key], names) for key, names in named.items())}   reads {other} instead"


def _says(tables: Any, key: str) -> bool:
    first, _, rest = key.partition(".")
    return isinstance(tables, dict) and first in tables and (not rest or _says(tables[first], rest))


def _column(kind: str, data: Dataset) -> str:
    """The first column of a kind.

    Raises:
        UserError: there is none; a recipe that takes what there is is named.
    """
    try:
        return data.column(kind)
    except UserError as e:
        if hasattr(MODALITIES.get(kind), "MADE_BY"):
            raise
        there = [name for name, row in MODALITIES.items() if _columns(row, data)]
        fits = "nmodal" if len(there) > 1 else "classify" if data.columns_of("label") and there else ""
        e.hint = f"{e.hint}; for such data: --recipe {fits}" if fits else e.hint
        raise


def _encoders(config: Config, names: list[str], reasons: dict[str, str], why: str) -> None:
    """An encoder of its modality's usual kind for each name that has none."""
    for name in names:
        if "kind" not in config.encoder.setdefault(name, {}):
            config.encoder[name] = {"kind": MODALITIES[config.modality_of(name)].ENCODER} | config.encoder[name]
            reasons[f"encoder.{name}.kind"] = f"{config.encoder[name]['kind']} ({why})"


def _unsaid(there: list[str], data: Dataset) -> str:
    """The first modality of the data that is not words."""
    for name in there:
        if not MODALITIES[name].LANGUAGE:
            return name
    if there:
        return there[0]
    raise UserError("the dataset has no column that an encoder reads", data.path, f"it has: {', '.join(data.columns)}")


def _fused(config: Config, there: list[str], further: Mapping[str, str]) -> list[str]:
    """Of each modality of the data the inputs that are named, else the one that is called like it; and the further ones.

    Raises:
        ConfigError: there is but one.
    """
    found = []
    for name in there:
        named = [own for own, one in config.input.items() if one.modality == name and own not in further]
        found += named or [name]
    if len(found) < 2:
        hint = setting("fusion.inputs", [*found, "…"])
        raise ConfigError("a fusion of one input", "fusion.inputs", where=f"the data has: {', '.join(there)}", hint=hint)
    return found


def _used(config: Config, there: list[str]) -> list[str]:
    """The inputs that losses and fusion name, those that are called like their modality in the order of the table."""
    named: list[str] = [name for table in config.fusions.values() for name in table.get("inputs", ())]
    for name, table in config.loss.items():
        named += losses.loss_class(name, table).names(table) or (there if table.get("anchor") else [])
    named = [name for name in named if name.partition(".")[0] not in {FUSED, *config.fusions}]
    order = [*MODALITIES, *config.input]
    return sorted(dict.fromkeys(named), key=lambda name: order.index(name) if name in order else len(order))
