"""What a transformers checkpoint folder says of itself: preprocessing, text length, tokenizer, pooling.

The folder is given, or fetched from the Hugging Face Hub by id, of which only the files that are used are downloaded.
"""

from __future__ import annotations

import math
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
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
    *("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model"),
    *("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"),
    *("chat_template.jinja", "chat_template.json", "generation_config.json", "video_preprocessor_config.json"),
]
SAFE = ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
PICKLED = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"]

# Any of these makes a tokenizer, in this order; without one, transformers makes an empty vocabulary and says nothing.
VOCABULARIES = [
    *(("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt")),
    *(("spiece.model",), ("sentencepiece.bpe.model",), ("tokenizer.model",), ("spm.model",)),
]
OF_CHECKPOINT = "of the checkpoint"
RESAMPLE_NAMES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


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
    if spec.get("do_flip_channel_order"):
        raise UserError("its pictures are read in the order blue, green, red, which mmkit does not do", checkpoint.name)
    found = {"resample": RESAMPLE_NAMES.get(spec.get("resample", 2), "bicubic"), **_geometry(spec, checkpoint)}
    factor = spec.get("rescale_factor", 1 / 255) if spec.get("do_rescale", True) else 1.0
    mean, std = (spec["image_mean"], spec["image_std"]) if spec.get("do_normalize") else ([0.0] * 3, [1.0] * 3)
    mean, std = ([v] * 3 if isinstance(v, (int, float)) else list(v) for v in (mean, std))
    if spec.get("rescale_offset"):  # EfficientNet: pixels to -1..1 before the mean is taken off
        mean = [m + 1.0 for m in mean]
    if factor != 1 / 255:
        mean, std = [m / (255 * factor) for m in mean], [s / (255 * factor) for s in std]
    return found | {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}


def image_source(checkpoint: Checkpoint) -> str:
    """Where `image_settings` comes from, for people; `OF_CHECKPOINT` where pictures are read just as the checkpoint says."""
    if _stated(checkpoint) is None:
        kind = _class_of(checkpoint)
        whose = f"{kind.__name__.removesuffix('Pil')}'s defaults" if kind else "plain defaults"
        return f"{whose}: the checkpoint has no preprocessor_config.json"
    if "max_num_patches" in _processor(checkpoint):
        return f"{OF_CHECKPOINT}, which was trained on pictures in their own shape, NaFlex; here they are squeezed to a square"
    return OF_CHECKPOINT


def _stated(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """What the checkpoint says of its pictures, None where it says nothing."""
    for file, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        path = checkpoint.folder / file
        spec = read_json(path) if path.exists() else None
        spec = spec.get(key) if isinstance(spec, dict) and key else spec
        if isinstance(spec, dict) and ("image_mean" in spec or "size" in spec or "image_processor_type" in spec):
            return {k: v for k, v in spec.items() if v is not None}
    return None


def _processor(checkpoint: Checkpoint) -> dict[str, Any]:
    """All settings of the checkpoint's image processor: what is left unsaid is its class's, and that is its architecture's."""
    import transformers

    stated = _stated(checkpoint)
    kind = str((stated or {}).get("image_processor_type") or (stated or {}).get("feature_extractor_type") or "")
    named = re.sub("(FeatureExtractor|ImageProcessor).*", "ImageProcessorPil", kind)
    cls = getattr(transformers, named, None) if named.endswith("Pil") else None
    cls = cls or _class_of(checkpoint) or transformers.ViTImageProcessorPil
    if stated is not None:
        return cls.from_dict(stated).to_dict()
    return _resized(cls().to_dict(), _vision(checkpoint.config).get("image_size"))


def _class_of(checkpoint: Checkpoint) -> Any:
    """The image processor that transformers has for the architecture, or None."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as KNOWN

    kind = str(checkpoint.config["model_type"])
    # clip_vision_model has clip's, dinov2_with_registers has dinov2's
    name = max((k for k in KNOWN if kind == k or kind.startswith(f"{k}_")), key=len, default=None)
    return getattr(transformers, KNOWN[name].get("pil") or "", None) if name else None


def _resized(spec: dict[str, Any], side: Any) -> dict[str, Any]:
    """A processor's settings for the side in pixels that a checkpoint was built for."""
    old = _side(spec.get("crop_size")) if spec.get("do_center_crop") else _side(spec.get("size"))
    if not isinstance(side, int) or not old or old == side:
        return spec
    size = {k: round(v * side / old) for k, v in spec["size"].items()}
    return spec | {"size": size, **({"crop_size": {"height": side, "width": side}} if spec.get("do_center_crop") else {})}


def _geometry(spec: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    if "max_num_patches" in spec:  # NaFlex: as many patches as fit, of which a square picture has as many across as down
        return {"size": math.isqrt(spec["max_num_patches"]) * spec["patch_size"], "resize": "square"}
    size = spec["size"]
    crop = _side(spec["crop_size"]) if spec.get("do_center_crop") and spec.get("crop_size") else None
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
    if str(spec.get("image_processor_type")).startswith("Levit"):
        return {"size": int(256 / 224 * side), "resize": "crop", "crop_size": crop or int(256 / 224 * side)}
    return {"size": side, "resize": "crop", **({"crop_size": crop} if crop and crop != side else {})}


def _side(value: dict[str, int] | None) -> int | None:
    """The side of a square, or the short side; None where there is no one side."""
    value = value or {}
    return value.get("shortest_edge") or (value.get("height") if value.get("height") == value.get("width") else None)


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


def tokenizer(checkpoint: Checkpoint, length: int, trim: bool, ends: bool = False) -> Tokenizer:
    """The checkpoint's tokenizer, read by `tokenizers`; converted by transformers where it has no tokenizer.json.

    Args:
        length: longest text in tokens.
        trim: pad to the longest of a batch; else to `length`, on the side that its tokenizer class pads on.
        ends: let a start and an end token stand around a text, as a language model that writes needs them.

    Raises:
        UserError: it has none, or one that cannot be read or converted.
    """
    from tokenizers import Tokenizer as Backend

    folder = checkpoint.folder
    if not any(all((folder / file).exists() for file in files) for files in VOCABULARIES):
        raise _without_tokenizer(checkpoint)
    path = folder / "tokenizer.json"
    try:
        backend = Backend.from_file(str(path)) if path.exists() else _converted(checkpoint)
    except UserError:
        raise
    except Exception as e:  # tokenizers raises a bare Exception
        raise UserError(f"the tokenizer cannot be read ({e})", str(path), _tokenizer_hint(checkpoint)) from e
    _canonical(checkpoint, backend)
    if ends:
        _with_ends(checkpoint, backend)
    return Tokenizer(backend, length, _padding(checkpoint, backend), trim, not trim and _pads_left(checkpoint))


def _with_ends(checkpoint: Checkpoint, backend: Any) -> None:
    """Put the start and the end token of config.json around every text, unless two tokens stand there already; of a model that
    has no start token its end token, after which a text begins."""
    from tokenizers import processors

    config = _text(checkpoint.config)
    end, start = (
        value[0] if isinstance(value, list) else value for value in (config.get("eos_token_id"), config.get("bos_token_id"))
    )
    start = end if start is None else start
    if len(backend.encode("").ids) == 2 or end is None:
        return
    first, last = backend.id_to_token(start), backend.id_to_token(end)
    if first is None or last is None:
        raise UserError(f"its tokenizer has no token {start if first is None else end}, which config.json names", checkpoint.name)
    special = {first: start, last: end}
    backend.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=list(special.items()))


def _without_tokenizer(checkpoint: Checkpoint) -> UserError:
    files = ", ".join(" with ".join(files) for files in VOCABULARIES[:3])
    return UserError(
        f"the checkpoint has no tokenizer (none of {files}, or a sentencepiece model)",
        checkpoint.name,
        _tokenizer_hint(checkpoint),
    )


def _tokenizer_hint(checkpoint: Checkpoint) -> str:
    if not is_local(checkpoint.name):
        return (
            f"download it (hf download {checkpoint.name} --local-dir FOLDER), add the tokenizer it was trained with, name FOLDER"
        )
    # older checkpoints say which one of the Hub they began as
    origin = str(checkpoint.config.get("_name_or_path") or "")
    name = origin if origin and not is_local(origin) else "NAME"
    return f"hf download {name} --include 'tokenizer*' 'vocab*' 'merges.txt' '*.model' --local-dir {checkpoint.folder}" + (
        "" if name == origin else "   (NAME: the model whose tokenizer it was trained with), or tokenizer.save_pretrained there"
    )


def _tokenizer_class(checkpoint: Checkpoint) -> str:
    if checkpoint.config["model_type"] == "siglip2":
        return "Siglip2Tokenizer"  # whatever the folder says, as transformers has it
    path = checkpoint.folder / "tokenizer_config.json"
    return str(read_json(path).get("tokenizer_class", "")) if path.exists() else ""


def _pads_left(checkpoint: Checkpoint) -> bool:
    path = checkpoint.folder / "tokenizer_config.json"
    side = read_json(path).get("padding_side") if path.exists() else None
    if side:
        return side == "left"
    return _tokenizer_class(checkpoint).startswith(("Siglip2Tokenizer", "GemmaTokenizer"))


def _canonical(checkpoint: Checkpoint, backend: Any) -> None:
    """Add what SigLIP's tokenizers do to a text in Python, before their tokenizer.json sees it, where that does not do it itself.

    SigLIP was trained on lower case without punctuation (big_vision's canonicalize), SigLIP 2 on lower case.
    """
    from tokenizers import Regex, normalizers

    kind = _tokenizer_class(checkpoint)
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
        backend = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True).backend_tokenizer
    except ImportError as e:
        raise UserError(f"the checkpoint's tokenizer needs a package ({str(e).strip().splitlines()[0]})", checkpoint.name) from e
    except Exception as e:
        hint = "save it with `AutoTokenizer.from_pretrained(…).save_pretrained(…)` where it has a fast form"
        raise UserError(
            "the checkpoint has no tokenizer.json, and its tokenizer cannot be converted", checkpoint.name, hint
        ) from e
    # the files of another class than the checkpoint's give an empty vocabulary, too
    if backend.get_vocab_size() < _text(checkpoint.config).get("vocab_size", 0) / 2:
        raise _without_tokenizer(checkpoint)
    return backend


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
