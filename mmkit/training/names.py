"""What a configuration names: kinds, modalities and trackers, checked without torch and before data is read."""

from __future__ import annotations

from mmkit import encoders, fusion, losses
from mmkit.config import Config, may_be_column
from mmkit.data.modalities import MODALITIES
from mmkit.errors import ConfigError, nearest
from mmkit.training.report_to import check_trackers


def check_names(config: Config) -> None:
    """Check that all that is named exists.

    Raises:
        ConfigError: it does not; the nearest is named.
    """
    for name, table in config.encoder.items():
        modality = config.modality_of(name)
        # without a kind it is the usual one of its modality, and of what column it is the data says, see `resolve_inputs`
        if "kind" in table if modality in MODALITIES else not may_be_column(name):
            encoders.check_kind(name, modality, table.get("kind", ""))
    known = list(dict.fromkeys([*config.encoder, *config.input, *(() if config.input else MODALITIES)]))
    # before it is known what the data has, any modality may be compared
    losses.check_names(config.loss, dict.fromkeys([*known, *MODALITIES]))
    for table in config.fusions.values():
        fusion.check_kind(table)
    if isinstance(config.project.kind, dict):
        for name in config.project.kind:
            if name not in known:
                path = f"project.kind.{name}"
                raise ConfigError(f"there is no {name} encoder", path, where="project.kind", hint=nearest(name, known))
    check_trackers(config.train.report_to)
