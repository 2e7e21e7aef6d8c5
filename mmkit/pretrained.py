"""Between checkpoints of transformers and the model: fill a configuration, load weights, open a whole CLIP or SigLIP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmkit.config import Config, build, merge, read_toml, to_dict
from mmkit.data.checkpoint import (
    OF_CHECKPOINT,
    Checkpoint,
    context,
    image_settings,
    image_source,
    is_local,
    open_checkpoint,
    pooling,
    tokenizer,
)
from mmkit.data.tokenizer import Tokenizer
from mmkit.encoders import pretrained as adapter
from mmkit.errors import ConfigError, UserError
from mmkit.model import CONFIG, TOKENIZER, WEIGHTS, Model, load_weights, pointed

Say = Callable[[str], None]

KIND = "pretrained"
CONTEXT = 512  # where a checkpoint states no limit

# Whole models: model_type -> the loss that it was trained with and how its encoders reach the shared space.
WHOLE: dict[str, dict[str, Any]] = {
    "clip": {"recipe": "clip", "loss": "infonce", "project": "linear"},
    "siglip": {"recipe": "siglip", "loss": "sigmoid", "project": "none"},
    "siglip2": {"recipe": "siglip", "loss": "sigmoid", "project": "none"},
}


def resolve(config: Config) -> dict[str, str]:
    """Fill in what the pretrained encoders of `config` decide: architecture, pooling, preprocessing, text length.

    Returns:
        Key -> reason for each value decided here; empty, and transformers not imported, where no encoder is pretrained.

    Raises:
        UserError: a checkpoint is missing, unknown or of another modality.
    """
    reasons: dict[str, str] = {}
    for modality, table in config.encoder.items():
        if table.get("kind") != KIND or "architecture" in table:
            continue
        if not table.get("from"):
            path = f"encoder.{modality}"
            hint = f"--set {path}.from=FOLDER, or a hub id"
            raise ConfigError("kind pretrained needs a checkpoint", f"{path}.kind", where=path, hint=hint)
        checkpoint = open_checkpoint(table["from"])
        table["architecture"] = _say(modality, checkpoint, lambda c=checkpoint, m=modality: adapter.describe(str(c.folder), m))
        stated = pooling(checkpoint) if modality == "text" else None
        if "pool" not in table and stated:
            table["pool"] = stated
            reasons[f"encoder.{modality}.pool"] = f"{stated} (stated by the checkpoint)"
        if modality == "image":
            reasons |= _image(config, checkpoint)
        else:
            reasons |= _text(config, checkpoint)
    return reasons


def _image(config: Config, checkpoint: Checkpoint) -> dict[str, str]:
    spec, decided = config.data.image, {}
    found, source = image_settings(checkpoint), image_source(checkpoint)
    if spec.size is not None:  # a size of the user's own: no wider picture to cut from
        found = {k: v for k, v in found.items() if k not in ("size", "crop_size")}
    for key, value in found.items():
        if getattr(spec, key) is None:
            setattr(spec, key, value)
            # why pictures are squeezed concerns one key alone
            decided[f"data.image.{key}"] = f"{value} ({source if key == 'resize' else source.split(', ')[0]})"
    return decided


def _text(config: Config, checkpoint: Checkpoint) -> dict[str, str]:
    spec = config.data.text
    limit = context(checkpoint, CONTEXT)
    if spec.context is not None and spec.context > limit:
        what = f"data.text.context = {spec.context} is more than the checkpoint's {limit}"
        hint = f"--set data.text.context={limit}, or less"
        raise ConfigError(what, "data.text.context", where=checkpoint.name, hint=hint)
    decided = {} if spec.context else {"data.text.context": f"{limit} ({OF_CHECKPOINT})"}
    spec.context = spec.context or limit
    text_tokenizer(config)
    return decided | {"data.text.vocab_size": f"{spec.vocab_size} ({OF_CHECKPOINT})"}


def text_tokenizer(config: Config) -> Tokenizer | None:
    """The tokenizer of the pretrained text encoder, or None where the text encoder has none of its own."""
    table = config.encoder.get("text", {})
    if table.get("kind") != KIND:
        return None
    assert config.data.text.context is not None
    found = tokenizer(open_checkpoint(table["from"]), config.data.text.context, adapter.trims(table["architecture"]))
    config.data.text.vocab_size = found.vocab_size
    return found


def load(model: Model) -> None:
    """Fill the pretrained encoders of a new model with their checkpoints' weights.

    Raises:
        UserError: weights are missing or do not fit.
    """
    for modality, table in model.config.encoder.items():
        if table.get("kind") == KIND:
            checkpoint = open_checkpoint(table["from"])
            folder, architecture = str(checkpoint.folder), table["architecture"]
            _say(modality, checkpoint, lambda m=modality, f=folder, a=architecture: adapter.load(model.encoder[m], f, a))


def _say(modality: str, checkpoint: Checkpoint, call: Any) -> Any:
    try:
        return call()
    except ValueError as e:
        raise UserError(str(e), f"encoder.{modality} from {checkpoint.name}") from e


def whole_config(name: str, say: Say = lambda text: None) -> tuple[Config, Checkpoint]:
    """The configuration of a whole CLIP or SigLIP checkpoint, as if train had written it.

    Args:
        say: told where pictures are not read as the checkpoint says, or it says nothing of them.

    Raises:
        UserError: it is missing, or no such checkpoint.
    """
    checkpoint = open_checkpoint(name)
    kind = checkpoint.config["model_type"]
    if kind not in WHOLE:
        hint = f"to train with it as one encoder: mmkit train --image-encoder {name} or --text-encoder {name}"
        raise UserError(f"a checkpoint of {kind}, not a whole CLIP or SigLIP", name, hint)
    spec = WHOLE[kind]
    table: dict[str, Any] = {"kind": KIND, "from": name, "lr_factor": 1.0}
    config = Config(recipe=spec["recipe"], encoder={m: dict(table) for m in ("image", "text")})
    config.loss = {"itc": {"kind": spec["loss"], "between": ["image", "text"]}}
    config.project.kind = spec["project"]
    config.project.dim = adapter.shared_width(str(checkpoint.folder))
    resolve(config)
    if (source := image_source(checkpoint)) != OF_CHECKPOINT:
        image = config.data.image
        say(f"{name}: pictures of {image.crop_size or image.size} px, {image.resample}, mean {image.mean} ({source})")
    return config, checkpoint


def open_whole(name: str, say: Say = lambda text: None) -> Model:
    """A transformers CLIP or SigLIP checkpoint, folder or hub id, as a Model: both encoders, projections, scale and bias.

    Args:
        say: as of `whole_config`.

    Raises:
        UserError: see `whole_config`; or its weights are missing or damaged.
    """
    config, checkpoint = whole_config(name, say)
    tensors = _whole_tensors(checkpoint)
    kind = checkpoint.config["model_type"]
    found = text_tokenizer(config)
    assert found is not None
    model = Model(config, found)
    parts = {"vision_model.": "encoder.image.body.", "text_model.": "encoder.text.body."}
    renamed = {"visual_projection.weight": "project.image.weight", "text_projection.weight": "project.text.weight"}
    renamed |= {"logit_scale": "loss.itc.logit_scale", "logit_bias": "loss.itc.logit_bias"}
    state = {}
    for key, value in tensors.items():
        prefix = next((p for p in parts if key.startswith(p)), None)
        state[parts[prefix] + key.removeprefix(prefix) if prefix else renamed.get(key, key)] = value
    wanted = model.state_dict()
    state = {k: v.reshape(wanted[k].shape) if k.startswith("loss.") and k in wanted else v for k, v in state.items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as e:
        raise UserError(f"the weights do not fit a {kind} model ({str(e).splitlines()[-1].strip()})", name) from e
    model.name = name
    model.hash = _hash(state)
    return model


def _whole_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All weights of a whole checkpoint under the names that transformers gives them in memory."""
    adapter.quiet()
    from transformers import AutoModel

    try:
        found, info = AutoModel.from_pretrained(
            checkpoint.folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except Exception as e:  # safetensors, pickle and the loader each raise their own for a damaged file
        raise UserError(f"the weights cannot be read ({str(e).strip().splitlines()[0]})", checkpoint.name) from e
    missing = sorted(info["missing_keys"]) or [str(k) for k in info["mismatched_keys"]]
    if missing:
        raise UserError(f"the weights are incomplete: {len(missing)} tensors are missing, e.g. {missing[0]}", checkpoint.name)
    return found.state_dict()


def _hash(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def init_tables(name: str, say: Say = lambda text: None) -> dict[str, Any]:
    """What `train --init NAME` takes from a run folder or a whole checkpoint: a level of configuration under --config and --set.

    Raises:
        UserError: it is neither.
    """
    run = _run_of(name)
    if run is None and is_local(name) and not Path(name).expanduser().exists():
        raise UserError("no such run or checkpoint", name, "--init takes a run folder, or a CLIP or SigLIP checkpoint")
    config = build(read_toml(run / CONFIG), str(run / CONFIG)) if run else whole_config(name, say)[0]
    tables = to_dict(config)
    data = {k: v for k, v in tables["data"].items() if k in ("image", "text")}
    for key in ("augment", "crop_scale", "word_dropout"):  # of training, not of the model
        data["image"].pop(key, None)
        data["text"].pop(key, None)
    for table in tables["encoder"].values():
        if table["kind"] == KIND:  # the rate of --init is low for all: what is trained already must not be washed out
            table["lr_factor"] = 1.0
    level = {
        "encoder": tables["encoder"],
        "project": tables["project"],
        "loss": tables["loss"],
        "data": data,
        "size": tables.get("size"),  # a checkpoint has none
    }
    return merge(level, {"train": {"init": name}})


def init_tokenizer(name: str, config: Config) -> Tokenizer:
    """The tokenizer that belongs to `--init NAME`."""
    run = _run_of(name)
    assert config.data.text.context is not None
    found = Tokenizer.load(run / TOKENIZER, config.data.text.context) if run else text_tokenizer(config)
    assert found is not None
    return found


def load_init(model: Model, name: str) -> list[str]:
    """Start a new model from a run's or a whole checkpoint's weights; a loss of another kind keeps its own scalars.

    Returns:
        The names of the tensors that did not come from there.

    Raises:
        UserError: encoders or projections do not fit.
    """
    run = _run_of(name)
    if run is not None:
        source = Model(build(read_toml(run / CONFIG)), model.tokenizer)
        path = Path(name)
        load_weights(source, (path if (path / WEIGHTS).exists() else run) / WEIGHTS)
    else:
        source = open_whole(name)
    found, wanted = source.state_dict(), model.state_dict()
    fits = {k: v for k, v in found.items() if k in wanted and v.shape == wanted[k].shape}
    fresh = sorted(set(wanted) - set(fits))
    bad = [k for k in fresh if not k.startswith("loss.")]
    if bad:
        raise UserError(
            f"--init does not fit this configuration: {len(bad)} tensors are missing or of another shape, e.g. {bad[0]}", name
        )
    model.load_state_dict(wanted | fits)
    return fresh


def _run_of(name: str) -> Path | None:
    path = pointed(Path(name))
    return next((p for p in (path, path.parent.parent) if (p / CONFIG).exists()), None)
