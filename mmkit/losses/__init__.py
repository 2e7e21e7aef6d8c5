"""The table of losses: kind -> module and class. Imported without torch; the class on first use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmkit import kinds
from mmkit.config import may_be_column
from mmkit.errors import ConfigError, nearest, setting

LOSSES = {
    "infonce": ("mmkit.losses.contrastive", "InfoNCE"),
    "sigmoid": ("mmkit.losses.contrastive", "Sigmoid"),
    "filip": ("mmkit.losses.filip", "Filip"),
    "hinge": ("mmkit.losses.hinge", "Hinge"),
    "classify": ("mmkit.losses.classify", "Classify"),
    "regress": ("mmkit.losses.regress", "Regress"),
    "answers": ("mmkit.losses.answers", "Answers"),
    "mlm": ("mmkit.losses.masked_tokens", "Mlm"),
    "mim": ("mmkit.losses.masked_tokens", "Mim"),
    "mmm": ("mmkit.losses.masked_tokens", "Mmm"),
    "mrfr": ("mmkit.losses.regions", "HiddenFeatures"),
    "mrc-kl": ("mmkit.losses.regions", "HiddenClasses"),
    "itm": ("mmkit.losses.matching", "Matching"),
    "wra": ("mmkit.losses.alignment", "Alignment"),
    "lm": ("mmkit.losses.language", "Language"),
    "dvae": ("mmkit.losses.dvae", "Dvae"),
    "prior": ("mmkit.losses.prior", "Prior"),
}


def check_names(tables: Mapping[str, dict[str, Any]], inputs: Iterable[str]) -> None:
    """Check without torch that the kind of each `[loss.NAME]` exists, and that what it names may be inputs of the model: which
    columns can be some, the data says.

    Raises:
        ConfigError: it is not; the nearest is named.
    """
    inputs = list(inputs)
    for name, table in tables.items():
        path, between = f"loss.{name}.between", table.get("between")
        # whatever else is wrong with it, one hint says all that it lacks
        pair = setting(path, inputs[:2])
        lacks = "" if "between" in table else f" {pair}"
        if "kind" not in table:
            named = nearest(name, set(tables) - {name})
            hint = named if named.startswith("did you") else setting(f"loss.{name}.kind", next(iter(LOSSES))) + lacks
            raise ConfigError(f"loss.{name} has no kind", f"loss.{name}", hint=hint)
        check_kind(name, table["kind"], lacks)
        if between is not None and (not isinstance(between, list) or not 1 < len(between) == len(set(map(str, between)))):
            raise ConfigError(f"{between} are not two modalities or more", path, where=path, hint=pair)
        for one in between or ():
            if one not in inputs and not may_be_column(str(one)):
                raise ConfigError(f"there is no {one} encoder", path, where=path, hint=nearest(str(one), inputs))


def check_kind(name: str, kind: Any, lacks: str = "") -> None:
    """Check without torch that there is a loss of this kind.

    Args:
        lacks: what the hint says of other keys.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if not isinstance(kind, str) or kind not in LOSSES:
        path = f"loss.{name}.kind"
        raise ConfigError(f"no loss of kind {kind!r}", path, where=path, hint=nearest(str(kind), LOSSES) + lacks)


def loss_class(name: str, table: Mapping[str, Any]) -> Any:
    """The class behind the kind of a `[loss.NAME]` table.

    Raises:
        ConfigError: there is no such kind.
    """
    kind = table.get("kind", "")
    check_kind(name, kind)
    return kinds.load(LOSSES[kind])


def build(name: str, table: dict[str, Any], given: Mapping[str, Any]) -> Any:
    """Build the objective of a `[loss.NAME]` table; its keys are the arguments of the kind.

    Args:
        given: facts of model and data; each kind takes those it needs.

    Raises:
        ConfigError: an unknown kind or key (the nearest is named), or values that make no loss.
    """
    return kinds.build(loss_class(name, table), table, f"loss.{name}", f"{table['kind']} loss", {**given, "name": name})
