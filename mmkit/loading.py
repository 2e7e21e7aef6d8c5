"""From a run folder, or a foreign checkpoint, to a Model on a device; and what a new run takes from one."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mmkit import foreign
from mmkit.config import Config, build, merge, read_toml, to_dict
from mmkit.data.checkpoint import is_local
from mmkit.data.modalities import MODALITIES
from mmkit.errors import UserError, nearest
from mmkit.files import CONFIG, TARGETS, WEIGHTS, pointed, read_json, write_json
from mmkit.model import Model

RUNS_NAMED = 5
# of what a run folder holds; 1 was that of mmkit before inputs, heads and fusions, 2 knew one fusion only
RUN_VERSION = 3

Say = Callable[[str], None]


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


def other_runs(path: Path) -> str:
    """A hint that names runs beside the one that is not there; empty where there is none."""
    runs = [other.parent for other in path.parent.glob(f"*/{CONFIG}") if not other.parent.is_symlink()]
    newest = sorted(runs, key=lambda run: run.stat().st_mtime)[-RUNS_NAMED:]
    return nearest(str(path), map(str, newest)) if newest else ""


def load_model(name: str, device: str = "auto", say: Say = lambda text: None) -> Model:
    """Open a run folder, a checkpoint inside one, or a CLIP, SigLIP or CLAP (folder or hub id): eval mode, on `device`.

    Args:
        say: told what a checkpoint leaves unsaid and how it is read then.

    Raises:
        UserError: it is missing, is no model, or its files do not fit together.
    """
    path = pointed(Path(name))
    hub_id = not path.exists() and name.count("/") == 1 and not name.startswith((".", "/", "~", "runs/"))
    if hub_id or (path / "config.json").exists():
        return foreign.open_whole(name, say).to(pick_device(device)).eval()
    if not path.exists():
        raise UserError("no such model", name, other_runs(path) or "train one with `mmkit train`")
    run = path if (path / CONFIG).exists() else path.parent.parent
    if not (run / CONFIG).exists():
        raise UserError("neither a run folder (no config.toml) nor a transformers checkpoint (no config.json)", name)
    if not (path / WEIGHTS).exists():
        raise UserError("the run has no weights yet", name, f"mmkit train --resume {run}")
    model = from_run(run_config(run), run)
    load_weights(model, path / WEIGHTS)
    model.name, model.folder = name, run
    return model.to(pick_device(device)).eval()


def run_config(run: Path) -> Config:
    """The configuration that a run was trained with.

    Raises:
        UserError: the run is of another format; its version is named.
    """
    tables = read_toml(run / CONFIG)
    written = tables.get("run", {}).get("format", 1)
    if written != RUN_VERSION:
        by = f"mmkit {tables.get('run', {}).get('mmkit', '?')}, run format {written}"
        hint = "train it again" if written < RUN_VERSION else "use the mmkit that wrote it"
        raise UserError(f"the run was trained by {by}, and this mmkit reads format {RUN_VERSION}", str(run), hint)
    return build(tables, str(run / CONFIG))


def from_run(config: Config, run: Path) -> Model:
    """Build the untrained model of a run from its files."""
    readers = {n: MODALITIES[config.modality_of(n)].load(config.spec(n), run, n) for n in config.encoder}
    return Model(config, readers, read_json(run / TARGETS) if (run / TARGETS).exists() else None)


def save_made(model: Model, run: Path) -> None:
    """Write what the model was made of beside its configuration: tokenizers, classes."""
    for name, reader in model.readers.items():
        reader.save(run, name)
    if any(model.targets.values()):
        write_json(run / TARGETS, model.targets)


def load_weights(model: Model, path: Path) -> None:
    """Load safetensors weights strictly: a key that is left over or missing is an error.

    Raises:
        UserError: the file is damaged or of another model.
    """
    try:
        model.load_state_dict(_folded(load_file(path), model))
    except FileNotFoundError:
        raise UserError("no such weights", str(path)) from None
    except RuntimeError as e:
        raise UserError(f"the weights do not fit the configuration ({str(e).splitlines()[-1].strip()})", str(path)) from e
    except Exception as e:  # safetensors raises its own type for a truncated header
        raise UserError(f"the weights are damaged ({e})", str(path)) from e
    with open(path, "rb") as f:
        model.hash = hashlib.file_digest(f, "sha256").hexdigest()[:16]


def lora_scale(config: Config, rank: int) -> float:
    """What the product of an adapter's matrices is multiplied by."""
    return (config.train.lora_alpha or 2 * rank) / rank


def _folded(tensors: dict[str, torch.Tensor], model: Model) -> dict[str, torch.Tensor]:
    """The weights of a run with adapters (see `mmkit.training.lora`) as those of a plain `model`: W + alpha / r * B A."""
    wanted = model.state_dict()
    if any(".lora_A." in name for name in wanted):
        return tensors
    found = {name.replace(".base_layer.", "."): tensor for name, tensor in tensors.items() if ".lora_" not in name}
    for name, A in tensors.items():
        layer, is_first, _ = name.partition(".lora_A.")
        if is_first:
            B, W = tensors[name.replace(".lora_A.", ".lora_B.")], found[f"{layer}.weight"]
            added = lora_scale(model.config, len(A)) * (B.flatten(1) @ A.flatten(1))
            # GPT-2 keeps the weight of its Conv1D the other way round
            added = added.T if type(model.get_submodule(layer)).__name__ == "Conv1D" else added.view_as(W)
            found[f"{layer}.weight"] = W + added
    return found


def init_tables(name: str, say: Say = lambda text: None) -> dict[str, Any]:
    """What `train --init NAME` takes from a run folder or a whole checkpoint: a level of configuration over the recipe.

    Raises:
        UserError: it is neither.
    """
    run = run_of(name)
    if run is None and is_local(name) and not Path(name).expanduser().exists():
        raise UserError("no such run or checkpoint", name, "--init takes a run folder, or a CLIP, SigLIP or CLAP checkpoint")
    config = run_config(run) if run else foreign.whole_config(name, say)[0]
    tables = to_dict(config)
    data: dict[str, Any] = {}
    for name in config.data.modality:  # what concerns training alone is not the model's
        training = MODALITIES[config.modality_of(name)].TRAINING
        data[name] = {k: v for k, v in tables["data"][name].items() if k not in training}
    for table in tables["encoder"].values():
        if foreign.is_foreign(table):  # the rate of --init is low for all: what is trained must not be washed out
            table["lr_factor"] = 1.0
    kept = ("recipe", "encoder", "project", "input", "fusion", "loss")
    level = {key: tables[key] for key in kept if key in tables}
    level |= {"data": data, "size": tables.get("size")}  # a checkpoint has none
    return merge(level, {"train": {"init": name}})


def init_readers(name: str, config: Config) -> dict[str, Any]:
    """encoder -> the Reader that belongs to it in `--init NAME`, where that has the encoder."""
    run = run_of(name)
    if run is None:
        whole, checkpoint = foreign.whole_config(name)
        return {n: MODALITIES[n].foreign(config.data[n], checkpoint) for n in config.encoder if n in whole.encoder}
    there = run_config(run)
    shared = [n for n, table in config.encoder.items() if _reads_alike(table, there.encoder.get(n))]
    return {n: MODALITIES[config.modality_of(n)].load(config.spec(n), run, n) for n in shared}


def _reads_alike(table: dict[str, Any], other: dict[str, Any] | None) -> bool:
    """Whether an encoder takes what another of its name takes: an encoder of a checkpoint takes what that one took."""
    origins = [one.get("from") if one.get("kind") == foreign.KIND else None for one in (table, other or {})]
    return other is not None and origins[0] == origins[1]


def made_readers(run: Path, config: Config) -> dict[str, Any]:
    """encoder -> its Reader in a run, where `config` reads with it as the run does; never a checkpoint's own."""
    there = run_config(run)
    readers = {}
    for name, table in config.encoder.items():
        modality = config.modality_of(name)
        kinds = (table["kind"], there.encoder.get(name, {}).get("kind", foreign.KIND))
        if foreign.KIND not in kinds and _reads(config, name) == _reads(there, name):
            readers[name] = MODALITIES[modality].load(config.spec(name), run, name)
    return readers


def _reads(config: Config, encoder: str) -> dict[str, Any]:
    """How an encoder reads, without what concerns training alone."""
    training = MODALITIES[config.modality_of(encoder)].TRAINING
    return {k: v for k, v in vars(config.spec(encoder)).items() if k not in training}


def load_init(model: Model, name: str) -> list[str]:
    """Start a new model from a run's or a whole checkpoint's weights: every tensor that fits.

    A loss keeps its own scalars where the source has none of its name and kind, and a head where its classes are others.

    Returns:
        The names of the tensors that did not come from there.

    Raises:
        UserError: nothing fits.
    """
    run = run_of(name)
    if run is not None:
        path, config = Path(name), run_config(run)
        source = from_run(config, run)
        load_weights(source, (path if (path / WEIGHTS).exists() else run) / WEIGHTS)
    else:
        source = foreign.open_whole(name)
    found, wanted = source.state_dict(), model.state_dict()
    origins = {k: _origin(k, found, source, model) for k in wanted if _same(k, source, model)}
    fits = {k: found[o] for k, o in origins.items() if o in found and found[o].shape == wanted[k].shape}
    if not any(k.startswith("encoder.") for k in fits):
        raise UserError("--init does not fit this configuration: no tensor of an encoder has its shape", name)
    model.load_state_dict(wanted | fits)
    return sorted(set(wanted) - set(fits))


def _origin(key: str, found: dict[str, torch.Tensor], source: Model, model: Model) -> str:
    """What a tensor is called in the source: what a fusion learnt of an input serves another that the same encoder reads, such as
    questions after captions."""
    parts = key.split(".")
    if key in found or parts[0] != "fusion":
        return key
    for i, name in enumerate(parts):
        others = [n for n in source.inputs if name in model.inputs and source.encoder_of(n) == model.encoder_of(name)]
        names = (".".join([*parts[:i], other, *parts[i + 1 :]]) for other in others)
        if origin := next((name for name in names if name in found), None):
            return origin
    return key


def _same(key: str, source: Model, model: Model) -> bool:
    """Whether a tensor means the same in both: of the same encoder, of a loss of one kind, of a head of the same classes."""
    section, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if section == "encoder":
        tables = [one.config.encoder.get(name, {}) for one in (source, model)]
        return all(tables[0].get(k) == tables[1].get(k) for k in ("kind", "from"))
    if section not in ("loss", "head"):
        return True
    kinds = [one.config.loss.get(name, {}).get("kind") for one in (source, model)]
    targets = [json.dumps(one.targets.get(name), sort_keys=True) for one in (source, model)]
    return kinds[0] == kinds[1] and (section == "loss" or targets[0] == targets[1])


def run_of(name: str) -> Path | None:
    """The run folder that `--init NAME` means; None where that is none."""
    path = pointed(Path(name))
    return next((p for p in (path, path.parent.parent) if (p / CONFIG).exists()), None)
