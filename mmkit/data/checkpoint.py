"""What a transformers checkpoint folder says of itself: preprocessing, text length, tokenizer, pooling; no transformers.

The folder is given, or fetched from the Hugging Face Hub by id, of which only the files that are used are downloaded.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.data.tokenizer import Tokenizer
from mmkit.errors import UserError
from mmkit.files import read_json

SETTINGS = [
    *("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model"),
    *("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"),
]
SAFE = ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
PICKLED = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"]

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = [0.5, 0.5, 0.5]
RESAMPLE_NAMES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}

# What a preprocessor_config.json leaves unsaid, by the class it names (the class defaults of transformers 5.23).
_SQUARE = {"size": {"height": 224, "width": 224}, "image_mean": HALF, "image_std": HALF}
_CROP = {"size": {"shortest_edge": 224}, "crop_size": 224, "do_center_crop": True, "resample": 3}
PROCESSORS: dict[str, dict[str, Any]] = {
    "CLIP": {**_CROP, "image_mean": CLIP_MEAN, "image_std": CLIP_STD},
    "Bit": {**_CROP, "image_mean": CLIP_MEAN, "image_std": CLIP_STD},
    "MobileNetV1": {**_CROP, "size": {"shortest_edge": 256}, "resample": 2, "image_mean": HALF, "image_std": HALF},
    "MobileNetV2": {**_CROP, "size": {"shortest_edge": 256}, "resample": 2, "image_mean": HALF, "image_std": HALF},
    "ConvNext": {"size": {"shortest_edge": 384}, "crop_pct": 224 / 256, "resample": 3, "image_mean": HALF, "image_std": HALF},
    "Siglip": {**_SQUARE, "resample": 3},
    "DeiT": {**_SQUARE, "size": {"height": 256, "width": 256}, "crop_size": 224, "do_center_crop": True, "resample": 3},
    "ViT": {**_SQUARE, "resample": 2},
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder, the name it was asked for by, and its config.json."""

    name: str
    folder: Path
    config: dict[str, Any]


def open_checkpoint(name: str) -> Checkpoint:
    """Find a checkpoint folder, or fetch it from the Hub (HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE are honoured).

    A path that exists wins; what begins with `.`, `/` or `runs/` is never looked up.

    Raises:
        UserError: it is missing, is no checkpoint, or the Hub cannot be reached.
    """
    path = Path(name).expanduser()
    folder = path if path.exists() else _fetch(name)
    modules = folder / "modules.json"
    if modules.exists():  # a sentence-transformers folder keeps the transformer in the folder root or in a subfolder
        inner = next((m["path"] for m in read_json(modules) if m["type"].endswith("Transformer")), "")
        folder = folder / inner if (folder / inner / "config.json").exists() else folder
    if not (folder / "config.json").exists():
        raise UserError("not a transformers checkpoint (it has no config.json)", name)
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError("not a transformers checkpoint (its config.json names no model_type)", name)
    return Checkpoint(name, folder, config)


def is_local(name: str) -> bool:
    """Whether `name` can only be a path: it exists, or is written as one."""
    return Path(name).expanduser().exists() or name.startswith((".", "/", "~", "runs/")) or name.count("/") > 1 or "\\" in name


def _fetch(name: str) -> Path:
    if is_local(name):
        raise UserError("no such folder", name, "name a transformers checkpoint folder, or a model id of the Hugging Face Hub")
    import huggingface_hub
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*SETTINGS, *SAFE]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*SETTINGS, *PICKLED]))
        return folder
    except errors.GatedRepoError as e:
        raise UserError(
            "this model asks you to accept its terms first", name, f"https://huggingface.co/{name}, then `hf auth login`"
        ) from e
    except errors.RepositoryNotFoundError as e:
        raise UserError("no such folder, and no such model on the Hugging Face Hub", name, "check the spelling") from e
    except errors.HFValidationError as e:
        raise UserError("no such folder, and not a model id of the Hugging Face Hub", name) from e
    except Exception as e:  # whatever the http client of this huggingface_hub raises: no network, a proxy, a full disk
        offline = huggingface_hub.constants.HF_HUB_OFFLINE
        reason = "HF_HUB_OFFLINE is set" if offline else f"cannot reach {huggingface_hub.constants.ENDPOINT}"
        hint = "it is not in the cache; download it where there is a network and name the folder instead"
        raise UserError(f"the checkpoint cannot be fetched ({reason})", name, hint) from e


def image_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """The keys of `data.image` (size, resize, crop_size, resample, mean, std) that make our pixels the checkpoint's.

    Raises:
        UserError: the checkpoint's preprocessing is of a form that mmkit does not have.
    """
    spec = _processor(checkpoint)
    if spec is None:  # no word about pixels: the side it was built for, and the plainest normalisation
        side = _vision(checkpoint.config).get("image_size") or 224
        spec = {**_SQUARE, "size": {"height": side, "width": side}, "resample": 3}
    found = {"resample": RESAMPLE_NAMES.get(spec.get("resample", 2), "bicubic"), **_geometry(spec, checkpoint)}
    factor = spec.get("rescale_factor", 1 / 255) if spec.get("do_rescale", True) else 1.0
    mean, std = (spec["image_mean"], spec["image_std"]) if spec.get("do_normalize", True) else ([0.0] * 3, [1.0] * 3)
    mean, std = ([v] * 3 if isinstance(v, (int, float)) else list(v) for v in (mean, std))
    if spec.get("rescale_offset"):  # EfficientNet: pixels to -1..1 before the mean is taken off
        mean = [m + 1.0 for m in mean]
    if factor != 1 / 255:
        mean, std = [m / (255 * factor) for m in mean], [s / (255 * factor) for s in std]
    return found | {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}


def _processor(checkpoint: Checkpoint) -> dict[str, Any] | None:
    for file, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        path = checkpoint.folder / file
        spec = read_json(path) if path.exists() else None
        spec = spec.get(key) if spec and key else spec
        if spec and ("image_mean" in spec or "size" in spec or "image_processor_type" in spec):
            kind = str(spec.get("image_processor_type") or spec.get("feature_extractor_type") or "")
            defaults = next((v for k, v in PROCESSORS.items() if kind.startswith(k)), PROCESSORS["ViT"])
            return {**defaults, **{k: v for k, v in spec.items() if v is not None}}
    return None


def _geometry(spec: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    size = spec["size"]
    crop = _side(spec["crop_size"]) if spec.get("do_center_crop") and spec.get("crop_size") else None
    # a bare number is the short side where the class keeps the aspect ratio, else both
    if isinstance(size, int):
        size = {"shortest_edge": size} if "crop_pct" in spec or crop else {"height": size, "width": size}
    if "shortest_edge" not in size:
        if _side(size) is None:
            raise UserError(f"its pictures are not square ({size})", checkpoint.name)
        return {"size": _side(size), "resize": "square", **({"crop_size": crop} if crop else {})}
    side = size["shortest_edge"]
    if "crop_pct" in spec:
        # ConvNeXt and ResNet: below 384 px the short side is resized to size / crop_pct and the centre kept, else all is squeezed
        if side >= 384:
            return {"size": side, "resize": "square"}
        return {"size": int(side / spec["crop_pct"]), "resize": "crop", "crop_size": side}
    return {"size": side, "resize": "crop", **({"crop_size": crop} if crop and crop != side else {})}


def _side(value: Any) -> int | None:
    if isinstance(value, int):
        return value
    return value["height"] if value.get("height") == value.get("width") else None


def _vision(config: dict[str, Any]) -> dict[str, Any]:
    return config.get("vision_config") or config


def _text(config: dict[str, Any]) -> dict[str, Any]:
    return config.get("text_config") or config


def context(checkpoint: Checkpoint, default: int) -> int:
    """The longest text in tokens: the least of what the tokenizer, sentence-transformers and the positions allow."""
    limits = []
    for file, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        path = checkpoint.folder / file
        value = read_json(path).get(key) if path.exists() else None
        # a tokenizer without a limit says 1e30
        if isinstance(value, (int, float)) and 0 < value < 1e6:
            limits.append(int(value))
    text = _text(checkpoint.config)
    positions = text.get("max_position_embeddings")
    if positions:
        # RoBERTa counts its positions from the padding id on
        offset = (text.get("pad_token_id") or 0) + 1 if "roberta" in str(text.get("model_type")) else 0
        limits.append(positions - offset)
    return min(limits, default=default)


def tokenizer(checkpoint: Checkpoint, length: int, trim: bool) -> Tokenizer:
    """The checkpoint's tokenizer, read by `tokenizers`; converted by transformers where it has no tokenizer.json.

    Args:
        length: longest text in tokens.
        trim: pad to the longest of a batch; else to `length`.

    Raises:
        UserError: it has none, or one that cannot be converted.
    """
    from tokenizers import Tokenizer as Backend

    path = checkpoint.folder / "tokenizer.json"
    backend = Backend.from_file(str(path)) if path.exists() else _converted(checkpoint)
    _canonical(checkpoint, backend)
    return Tokenizer(backend, length, _padding(checkpoint, backend), trim)


def _canonical(checkpoint: Checkpoint, backend: Any) -> None:
    """Add what SigLIP's tokenizers do to a text in Python, before their tokenizer.json sees it, where that does not do it itself.

    SigLIP was trained on lower case without punctuation (big_vision's canonicalize), SigLIP 2 on lower case.
    """
    from tokenizers import Regex, normalizers

    path = checkpoint.folder / "tokenizer_config.json"
    kind = str(read_json(path).get("tokenizer_class", "")) if path.exists() else ""
    if not str(checkpoint.config["model_type"]).startswith("siglip") or not kind.startswith(("Siglip", "Gemma")):
        return
    steps: list[Any] = []
    if backend.encode("A").ids != backend.encode("a").ids:
        steps.append(normalizers.Lowercase())
    if kind in ("SiglipTokenizer", "SiglipTokenizerFast") and backend.encode("a,").ids != backend.encode("a").ids:
        steps += [normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""), normalizers.Replace(Regex(r"\s+"), " ")]
        steps.append(normalizers.Strip())
    if steps:
        backend.normalizer = normalizers.Sequence(steps + ([backend.normalizer] if backend.normalizer else []))


def _converted(checkpoint: Checkpoint) -> Any:
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
        return found.backend_tokenizer
    except ImportError as e:
        raise UserError(f"the checkpoint's tokenizer needs a package ({str(e).strip().splitlines()[0]})", checkpoint.name) from e
    except Exception as e:
        hint = "save it with `AutoTokenizer.from_pretrained(…).save_pretrained(…)` where it has a fast form"
        raise UserError(
            "the checkpoint has no tokenizer.json, and its tokenizer cannot be converted", checkpoint.name, hint
        ) from e


def _padding(checkpoint: Checkpoint, backend: Any) -> int:
    path = checkpoint.folder / "tokenizer_config.json"
    token = read_json(path).get("pad_token") if path.exists() else None
    token = token.get("content") if isinstance(token, dict) else token
    found = backend.token_to_id(token) if token else None
    if found is None and backend.padding:
        found = backend.padding["pad_id"]
    return found if found is not None else _text(checkpoint.config).get("pad_token_id") or 0


def pooling(checkpoint: Checkpoint) -> str | None:
    """The pooling that a sentence-transformers folder states (cls, mean, max, last), or None.

    Raises:
        UserError: it states one that mmkit does not have.
    """
    path = checkpoint.folder / "modules.json"
    root = checkpoint.folder if path.exists() else checkpoint.folder.parent
    if not (root / "modules.json").exists():
        return None
    inner = next((m["path"] for m in read_json(root / "modules.json") if m["type"].endswith("Pooling")), None)
    if inner is None or not (root / inner / "config.json").exists():
        return None
    spec = read_json(root / inner / "config.json")
    names = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "lasttoken": "last"}
    flags = [k.removeprefix("pooling_mode_") for k, v in spec.items() if k.startswith("pooling_mode_") and v is True]
    stated = [spec["pooling_mode"]] if "pooling_mode" in spec else [names.get(flag, flag) for flag in flags]
    if len(stated) == 1 and stated[0] in names.values():
        return stated[0]
    raise UserError(
        f"its pooling ({' + '.join(stated) or 'none'}) is not one mmkit has",
        checkpoint.name,
        "choose one: --set encoder.text.pool=mean",
    )
