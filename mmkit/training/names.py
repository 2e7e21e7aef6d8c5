"""What a configuration names: kinds, modalities and trackers, checked without torch and before data is read."""

from __future__ import annotations

from mmkit import encoders, losses
from mmkit.config import Config
from mmkit.errors import ConfigError, nearest
from mmkit.training.report_to import check_trackers


def check_names(config: Config) -> None:
    """Check that all that is named exists.

    Raises:
        ConfigError: it does not; the nearest is named.
    """
    for modality, table in config.encoder.items():
        encoders.check_kind(modality, table.get("kind", ""))
    losses.check_names(config.loss, config.encoder)
    if isinstance(config.project.kind, dict):
        for modality in config.project.kind:
            if modality not in config.encoder:
                path = f"project.kind.{modality}"
                hint = nearest(modality, config.encoder)
                raise ConfigError(f"there is no {modality} encoder", path, where="project.kind", hint=hint)
    check_trackers(config.train.report_to)
