"""Between checkpoints of transformers and the model: fill a configuration, load weights, open a whole CLIP, SigLIP or CLAP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmkit.config import Config, build
from mmkit.data.checkpoint import OF_CHECKPOINT, Checkpoint, image_source, open_checkpoint, pooling
from mmkit.data.modalities import MODALITIES
from mmkit.encoders import pretrained as adapter
from mmkit.errors import ConfigError, UserError
from mmkit.model import Model

Say = Callable[[str], None]


def is_foreign(table: dict[str, Any]) -> bool:
    """An encoder whose weights come from a checkpoint: one of transformers itself, or one of ours that has one inside."""
    return table.get("kind") == KIND or bool(table.get("from"))


KIND = "pretrained"
# What transformers calls the parts of a whole model: its two inputs, each with the column that a dataset of ours has for it.
VISION, SOUND, WORDS = "image", "audio", "text"

# Whole models: model_type -> the loss that it was trained with, what it compares with words, how its encoders reach the shared
# space, and what transformers calls some of that.
_PICTURES = {
    "compares": VISION,
    "names": {
        **{"vision_model.": f"encoder.{VISION}.body.", "visual_projection.": f"project.{VISION}."},
        **{"text_projection.": f"project.{WORDS}.", "logit_scale": "loss.itc.logit_scale", "logit_bias": "loss.itc.logit_bias"},
    },
}
_CLAP = {
    **{f"{m}_projection.linear{n}.": f"project.{m}.{layer}." for m in (SOUND, WORDS) for n, layer in ((1, 0), (2, 2))},
    **{"audio_model.": f"encoder.{SOUND}.body.", "logit_scale_a": "loss.itc.logit_scale"},
}
WHOLE: dict[str, dict[str, Any]] = {
    "clip": {"recipe": "clip", "loss": "infonce", "project": "linear"} | _PICTURES,
    "siglip": {"recipe": "siglip", "loss": "sigmoid", "project": "none"} | _PICTURES,
    "siglip2": {"recipe": "siglip", "loss": "sigmoid", "project": "none"} | _PICTURES,
    # its scale of texts is no other than that of sounds but by rounding, and ours is one
    "clap": {"recipe": "nmodal", "loss": "infonce", "project": "clap", "compares": SOUND, "names": _CLAP},
}
DROPPED = ("logit_scale_t",)


def resolve(config: Config) -> dict[str, str]:
    """Fill in what the pretrained encoders of `config` decide: architecture, pooling, preprocessing, text length.

    Returns:
        Key -> reason for each value decided here; empty, and transformers not imported, where no encoder is pretrained.

    Raises:
        UserError: a checkpoint is missing, unknown or of another modality.
    """
    reasons: dict[str, str] = {}
    for name, table in config.encoder.items():
        if not is_foreign(table) or table.get("architecture"):
            continue
        if not table.get("from"):
            path = f"encoder.{name}"
            hint = f"--set {path}.from=FOLDER, or a hub id"
            raise ConfigError("kind pretrained needs a checkpoint", f"{path}.kind", where=path, hint=hint)
        checkpoint, modality = open_checkpoint(table["from"]), config.modality_of(name)
        row, spec = MODALITIES[modality], config.spec(name)
        table["architecture"] = _say(name, checkpoint, lambda c=checkpoint, m=modality: adapter.describe(str(c.folder), m))
        stated = pooling(checkpoint) if row.LANGUAGE else None
        if "pool" not in table and stated and table["kind"] == KIND:
            table["pool"] = stated
            reasons[f"encoder.{name}.pool"] = f"{stated} (stated by the checkpoint)"
        found = row.of_checkpoint(spec, checkpoint)
        reasons |= {f"{config.spec_path(name)}.{key}": reason for key, reason in found.items()}
    return reasons


def load(model: Model, names: Collection[str]) -> list[str]:
    """Fill the pretrained encoders of a new model with their checkpoints' weights.

    Args:
        names: of these encoders.

    Returns:
        The names of those that are pretrained.

    Raises:
        UserError: weights are missing or do not fit.
    """
    found = [name for name, table in model.config.encoder.items() if is_foreign(table) and name in names]
    for name in found:
        table = model.config.encoder[name]
        encoder = model.encoder[name]
        load_encoder(getattr(encoder, "adapted", encoder), open_checkpoint(table["from"]), name, table["architecture"])
        _load_heads(model, name)
    return found


def _load_heads(model: Model, name: str) -> None:
    """Let the heads that read a language model as it is, or as a fusion drives it, begin as its own last layer."""
    for objective in model.loss.values():
        fusion = dict(model.fusion).get(getattr(objective, "joined", ""))
        text = getattr(objective, "text", None)
        if text is None or model.encoder_of(text) != name or (fusion is not None and getattr(fusion, "drives", None) != text):
            continue
        table = model.config.encoder[name]
        checkpoint = open_checkpoint(table["from"])
        folder, architecture = str(checkpoint.folder), table["architecture"]
        layer = _say(name, checkpoint, partial(adapter.vocabulary, folder, architecture))
        if layer is not None:
            objective.adopt(model.head[objective.name], layer)


def load_encoder(encoder: Any, checkpoint: Checkpoint, name: str, architecture: str) -> None:
    """Fill one with its checkpoint's weights; raises as `load`."""
    _say(name, checkpoint, lambda: adapter.load(encoder, str(checkpoint.folder), architecture))


def _say(name: str, checkpoint: Checkpoint, call: Any) -> Any:
    try:
        return call()
    except ValueError as e:
        raise UserError(str(e), f"encoder.{name} from {checkpoint.name}") from e


def whole_config(name: str, say: Say = lambda text: None) -> tuple[Config, Checkpoint]:
    """The configuration of a whole CLIP, SigLIP or CLAP checkpoint, as if train had written it.

    Args:
        say: told where pictures are not read as the checkpoint says, or it says nothing of them.

    Raises:
        UserError: it is missing, or no such checkpoint.
    """
    checkpoint = open_checkpoint(name)
    kind = checkpoint.config["model_type"]
    if kind not in WHOLE:
        hint = f"to train with it as one encoder: mmkit train --image-encoder {name}, or --audio-encoder, --text-encoder"
        if writes(kind):
            hint = "it writes: mmkit caption, mmkit answer, mmkit eval caption vqa hallucination"
        raise UserError(f"a checkpoint of {kind}, not a whole CLIP, SigLIP or CLAP", name, hint)
    spec = WHOLE[kind]
    table: dict[str, Any] = {"kind": KIND, "from": name, "lr_factor": 1.0}
    parts = (spec["compares"], WORDS)
    tables: dict[str, Any] = {"recipe": spec["recipe"], "encoder": {m: dict(table) for m in parts}}
    tables["input"] = {m: {"column": MODALITIES[m].COLUMN, "modality": m, "encoder": m} for m in parts}
    tables["loss"] = {"itc": {"kind": spec["loss"], "between": list(parts)}}
    tables["project"] = {"kind": spec["project"], "dim": adapter.shared_width(str(checkpoint.folder))}
    config = build(tables)
    resolve(config)
    if VISION in parts and (source := image_source(checkpoint)) != OF_CHECKPOINT:
        image = config.data[VISION]
        say(f"{name}: pictures of {image.crop_size or image.size} px, {image.resample}, mean {image.mean} ({source})")
    return config, checkpoint


def writes(kind: str) -> bool:
    """Whether transformers has a model that writes of pictures for a `model_type`; see `mmkit.foreign_vlm`."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def open_whole(name: str, say: Say = lambda text: None) -> Model:
    """A transformers CLIP, SigLIP or CLAP checkpoint, folder or hub id, as a Model: both encoders, projections, scale and bias.

    Args:
        say: as of `whole_config`.

    Raises:
        UserError: see `whole_config`; or its weights are missing or damaged.
    """
    config, checkpoint = whole_config(name, say)
    tensors = _whole_tensors(checkpoint)
    kind = checkpoint.config["model_type"]
    readers = {m: MODALITIES[m].foreign(config.data[m], checkpoint) for m in config.encoder}
    model = Model(config, readers)
    names = WHOLE[kind]["names"] | {"text_model.": f"encoder.{WORDS}.body."}
    state = {}
    for key, value in tensors.items():
        prefix = next((p for p in names if key.startswith(p)), None)
        if key not in DROPPED:
            state[names[prefix] + key.removeprefix(prefix) if prefix else key] = value
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
