"""Projections: from what encoders give to the space that they share.

B rows, D width of an encoder, d width of the shared space
"""

from __future__ import annotations

from torch import nn

from mmkit.config import Project
from mmkit.errors import ConfigError, setting


def projection(name: str, width: int, spec: Project) -> nn.Module:
    """From an encoder's vector (B, width) to the shared space (B, dim)."""
    assert spec.dim is not None
    kind = projection_kind(name, spec)
    if kind == "mlp":
        hidden = spec.hidden or spec.dim
        first = [nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(spec.dropout)]
        return nn.Sequential(*first, nn.Linear(hidden, spec.dim))
    if kind == "clap":
        return nn.Sequential(nn.Linear(width, spec.dim), nn.ReLU(), nn.Linear(spec.dim, spec.dim))
    if kind == "none":
        return nn.Identity()
    return nn.Linear(width, spec.dim, bias=False)


def projection_kind(name: str, spec: Project) -> str | None:
    """What `project.kind`, one word or a table by encoder, says of an encoder."""
    return spec.kind.get(name, "linear") if isinstance(spec.kind, dict) else spec.kind


def check_widths(widths: dict[str, int], spec: Project) -> None:
    """Check that encoders without a projection are as wide as the shared space.

    Raises:
        ConfigError: one is not.
    """
    bare = {name: width for name, width in widths.items() if projection_kind(name, spec) == "none"}
    for name, width in bare.items():
        if width != spec.dim:
            what = f"the {name} encoder gives {width} values, and project.kind is none"
            linear = setting("project.kind", "linear")
            hint = linear if len(set(bare.values())) > 1 else f"{setting('project.dim', width)}, or {linear}"
            raise ConfigError(what, "project", where=f"project.dim = {spec.dim}", hint=hint)
