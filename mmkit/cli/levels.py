"""The options of `mmkit train` as levels of the configuration, each checked under the name that was typed."""

from __future__ import annotations

from typing import Any

from mmkit.config import build, duration, parse_set
from mmkit.errors import UsageError, UserError


def level(option: str, key: str, value: Any) -> dict[str, Any]:
    """The level that an option other than --set stands for.

    Args:
        option: as it is typed, `--steps`.
        key: of the configuration, `train.steps`.
        value: as Typer reads it.

    Raises:
        UsageError: the value is none that the key takes; the option is named.
    """
    try:
        tables = _tables(option, key, value)
        build(tables)
    except UserError as e:
        raise UsageError(e.what, option, e.hint) from e
    return tables


def _tables(option: str, key: str, value: Any) -> dict[str, Any]:
    if option == "--steps":
        tables = parse_set(f"{key}={value}")
        steps = tables["train"]["steps"]
        # only whether it can be read: how many steps it is depends on the data
        if isinstance(steps, str):
            duration(steps, 1, 1, 0, 1.0, key)
        return tables
    if option == "--report-to":
        value = _reporters(value)
    elif option in ("--image-encoder", "--text-encoder"):
        value = _encoder(value)
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _reporters(names: str) -> list[str]:
    from mmkit.training.report_to import check_names

    asked = [name.strip() for name in names.split(",")]
    check_names(asked)
    return asked


def _encoder(name: str) -> dict[str, Any]:
    from mmkit.encoders import ENCODERS

    return {"kind": name} if name in ENCODERS else {"kind": "pretrained", "from": name}
