"""A model: encoders, projections into one space, and losses, as the configuration names them.

B batch, D encoder width, d width of the shared space
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from mmkit import encoders, losses
from mmkit.config import Config, Project, build, read_toml
from mmkit.data.images import TREATMENT
from mmkit.data.pixels import Pixels
from mmkit.data.tokenizer import Tokenizer
from mmkit.encoders.layers import Stack
from mmkit.errors import ConfigError, UserError, nearest, setting

RUNS_NAMED = 5
WEIGHTS, TOKENIZER, CONFIG = "model.safetensors", "tokenizer.json", "config.toml"


def projection(modality: str, width: int, spec: Project) -> nn.Module:
    """From an encoder's pooled vector (B, width) to the shared space (B, dim)."""
    assert spec.dim is not None
    kind = projection_kind(modality, spec)
    if kind == "mlp":
        hidden = spec.hidden or spec.dim
        first = [nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(spec.dropout)]
        return nn.Sequential(*first, nn.Linear(hidden, spec.dim))
    if kind == "none":
        return nn.Identity()
    return nn.Linear(width, spec.dim, bias=False)


def projection_kind(modality: str, spec: Project) -> str | None:
    """What `project.kind`, one word or a table by modality, says of a modality."""
    return spec.kind.get(modality, "linear") if isinstance(spec.kind, dict) else spec.kind


def check_widths(widths: dict[str, int], spec: Project) -> None:
    """Check that encoders without a projection are as wide as the shared space.

    Raises:
        ConfigError: one is not.
    """
    bare = {modality: width for modality, width in widths.items() if projection_kind(modality, spec) == "none"}
    for modality, width in bare.items():
        if width != spec.dim:
            what = f"the {modality} encoder gives {width} values, and project.kind is none"
            linear = setting("project.kind", "linear")
            hint = linear if len(set(bare.values())) > 1 else f"{setting('project.dim', width)}, or {linear}"
            raise ConfigError(what, "project", where=f"project.dim = {spec.dim}", hint=hint)


def build_encoders(config: Config, tokenizer: Tokenizer) -> nn.ModuleDict:
    """The encoders of `config` by modality, as they begin."""
    given = {"size": Pixels(config.data.image).size, "vocab_size": tokenizer.vocab_size, "context": tokenizer.context}
    return nn.ModuleDict({m: encoders.build(m, table, given | {"modality": m}) for m, table in config.encoder.items()})


class Model(nn.Module):
    """Encoders by modality, a projection for each, and the losses' learned scalars.

    `forward` answers everything that the losses want of a batch in one call.

    Args:
        config: fully resolved.
        tokenizer: of the text encoder.

    Attributes:
        name: as the user typed it; folder: the run folder or None; hash: of the weights.
    """

    def __init__(self, config: Config, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.pixels = Pixels(config.data.image)
        self.name, self.hash = "", ""
        self.folder: Path | None = None
        self.encoder: Any = build_encoders(config, tokenizer)
        widths: dict[str, Any] = {m: e.dim for m, e in self.encoder.items()}
        check_widths(widths, config.project)
        self.project = nn.ModuleDict({m: projection(m, width, config.project) for m, width in widths.items()})
        self.loss: Any = nn.ModuleDict({name: losses.build(name, table) for name, table in config.loss.items()})
        # convolutions are faster on interleaved channels, and no result changes beyond rounding
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, batch: dict[str, Any], wants: Iterable[str]) -> dict[str, Tensor]:
        """Answer `wants`, each "MODALITY.vector": the L2-normalised vector (B, d) of that modality.

        Args:
            batch: "image" uint8 (B, 3, S, S), "text" {"ids", "mask"} (B, M); only what is wanted is needed. A modality
                whose encoder ran before is {"pooled": (B, D)}.
        """
        return {want: self.vector(want.partition(".")[0], batch) for want in sorted(wants)}

    def vector(self, modality: str, batch: dict[str, Any]) -> Tensor:
        """The normalised vector (B, d) of one modality."""
        value = batch[modality]
        pooled = value["pooled"] if isinstance(value, dict) and "pooled" in value else self.pooled(modality, value)
        return F.normalize(self.project[modality](pooled).float(), dim=-1)

    def pooled(self, modality: str, value: Any) -> Tensor:
        """The encoder's pooled output (B, D) of one modality, before the projection."""
        if modality == "image":
            pixels = self.pixels.normalise(value)
            return self.encoder[modality](pixels.contiguous(memory_format=torch.channels_last)).pooled
        return self.encoder[modality](**value).pooled

    def train(self, mode: bool = True) -> Model:
        """As of every module, but what does not learn stays in eval mode: no dropout, no running statistics."""
        super().train(mode)
        for module in self.modules() if mode else ():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
        return self

    def made_of(self, modality: str) -> list[Any]:
        """What a vector of this modality depends on beside the weights, JSON: the encoder's keys and how its input is made."""
        table = {k: v for k, v in self.config.encoder[modality].items() if k not in ("from", "lr_factor")}
        if modality == "image":
            spec = dataclasses.asdict(self.config.data.image)
            return [table, {k: v for k, v in spec.items() if k not in ("augment", "crop_scale")}, TREATMENT]
        tokens = self.tokenizer
        return [table, tokens.backend.to_str(), tokens.context, tokens.pad, tokens.trim, tokens.left]

    @cached_property
    def made_of_hash(self) -> str:
        """Of `made_of` all modalities."""
        text = json.dumps([[m, *self.made_of(m)] for m in self.modalities], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass instead of keeping them (arXiv:1604.06174)."""
        for module in self.modules():
            if isinstance(module, Stack):
                module.checkpoint = True
            elif getattr(module, "supports_gradient_checkpointing", False):
                # renamed within transformers 5, where the old name warns
                enable: Any = getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)
                enable({"use_reentrant": False})

    def wants(self) -> set[str]:
        """What the losses want of a batch."""
        return set().union(*(loss.wants() for loss in self.loss.values()))

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.encoder)

    @property
    def dim(self) -> int:
        assert self.config.project.dim is not None
        return self.config.project.dim

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @cached_property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    @torch.inference_mode()
    def encode_images(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) -> float32 (B, d) on the CPU."""
        return self.vector("image", {"image": images.to(self.device)}).cpu()

    @torch.inference_mode()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """Texts -> float32 (B, d) on the CPU."""
        tokens = {k: v.to(self.device) for k, v in self.tokenizer(texts).items()}
        return self.vector("text", {"text": tokens}).cpu()

    def probabilities(self, image: Tensor, texts: Tensor) -> Tensor:
        """The probability of each text (n, d) for an image (d,): (n,), softmax or sigmoid as trained."""
        loss = next(iter(self.loss.values()))
        with torch.no_grad():
            return loss.probabilities((texts @ image).to(self.device)).cpu()


def reuse_memory() -> None:
    """Let malloc keep what activations free instead of handing it back and faulting it in again in every batch.

    On Linux CPUs with glibc a convolutional encoder spends a third of its time there otherwise; no result changes.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another libc has no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD, bytes
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD, bytes


def pick_device(name: str) -> torch.device:
    """`auto` is the best device there is.

    Raises:
        UserError: the device named is not there.
    """
    reuse_memory()
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if available[d]))
    if not available.get(name.partition(":")[0], False):
        raise UserError(f"no device {name!r} here", hint=f"there is: {', '.join(d for d, there in available.items() if there)}")
    return torch.device(name)


def pointed(path: Path) -> Path:
    """What `latest` names, where a system with no symlinks holds it as a text file; any other path as it is."""
    return path.with_name(path.read_text().strip()) if path.name == "latest" and path.is_file() else path


def other_runs(path: Path) -> str:
    """A hint that names runs beside the one that is not there; empty where there is none."""
    runs = [other.parent for other in path.parent.glob(f"*/{CONFIG}") if not other.parent.is_symlink()]
    newest = sorted(runs, key=lambda run: run.stat().st_mtime)[-RUNS_NAMED:]
    return nearest(str(path), map(str, newest)) if newest else ""


def load_model(name: str, device: str = "auto", say: Callable[[str], None] = lambda text: None) -> Model:
    """Open a run folder, a checkpoint inside one, or a transformers CLIP or SigLIP (folder or hub id): eval mode, on `device`.

    Args:
        say: told what a checkpoint leaves unsaid and how it is read then.

    Raises:
        UserError: it is missing, is no model, or its files do not fit together.
    """
    path = pointed(Path(name))
    hub_id = not path.exists() and name.count("/") == 1 and not name.startswith((".", "/", "~", "runs/"))
    if hub_id or (path / "config.json").exists():
        from mmkit.pretrained import open_whole

        return open_whole(name, say).to(pick_device(device)).eval()
    if not path.exists():
        raise UserError("no such model", name, other_runs(path) or "train one with `mmkit train`")
    run = path if (path / CONFIG).exists() else path.parent.parent
    if not (run / CONFIG).exists():
        raise UserError("neither a run folder (no config.toml) nor a transformers checkpoint (no config.json)", name)
    if not (path / WEIGHTS).exists():
        raise UserError("the run has no weights yet", name, f"mmkit train --resume {run}")
    model = from_config(build(read_toml(run / CONFIG), str(run / CONFIG)), run / TOKENIZER)
    load_weights(model, path / WEIGHTS)
    model.name, model.folder = name, run
    return model.to(pick_device(device)).eval()


def from_config(config: Config, tokenizer: Path) -> Model:
    """Build an untrained model from a resolved configuration and its tokenizer.json."""
    assert config.data.text.context is not None
    return Model(config, Tokenizer.load(tokenizer, config.data.text.context))


def load_weights(model: Model, path: Path) -> None:
    """Load safetensors weights strictly: a key that is left over or missing is an error.

    Raises:
        UserError: the file is damaged or of another model.
    """
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError("no such weights", str(path)) from None
    except RuntimeError as e:
        raise UserError(f"the weights do not fit the configuration ({str(e).splitlines()[-1].strip()})", str(path)) from e
    except Exception as e:  # safetensors raises its own type for a truncated header
        raise UserError(f"the weights are damaged ({e})", str(path)) from e
    with open(path, "rb") as f:
        model.hash = hashlib.file_digest(f, "sha256").hexdigest()[:16]
