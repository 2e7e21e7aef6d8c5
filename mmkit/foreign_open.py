"""Vision-language checkpoints of transformers opened as they were published, their processor and chat template with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from mmkit import loading
from mmkit.data.checkpoint import Checkpoint, is_local, open_checkpoint
from mmkit.encoders import pretrained as adapter
from mmkit.errors import UserError, is_out_of_memory, missing_extra
from mmkit.files import pointed
from mmkit.foreign import writes
from mmkit.foreign_vlm import EXTRA, VisionLanguage
from mmkit.model import Model
from mmkit.prompting import MANNERS, Parts

Say = Callable[[str], None]


def load_writer(name: str, device: str = "auto", say: Say = lambda text: None, prompt: str | None = None) -> Model:
    """As `load_model`; a vision-language checkpoint of transformers, too, which stands where a Model stands for what writes.

    Args:
        prompt: what such a checkpoint is asked instead of the default.

    Raises:
        UserError: as `load_model`, or a prompt is given to a model that reads none.
    """
    path = pointed(Path(name))
    foreign_one = (path / "config.json").exists() or (not path.exists() and not is_local(name) and name.count("/") == 1)
    if foreign_one and writes(open_checkpoint(name).config["model_type"]):
        return cast(Model, open_vlm(name, loading.pick_device(device), prompt))
    if prompt is not None:
        raise UserError("the model reads no prompt", name, "--prompt is of vision-language checkpoints of transformers")
    return loading.load_model(name, device, say)


def open_vlm(name: str, device: torch.device, prompt: str | None = None) -> VisionLanguage:
    """A checkpoint that writes of pictures, folder or hub id, on a device: in float32, on CUDA as it was stored.

    Args:
        prompt: as of `load_writer`.

    Raises:
        UserError: it is missing or of another kind, its weights are damaged, or its processor needs a package that is not there.
    """
    from transformers import AutoModelForImageTextToText

    checkpoint = open_checkpoint(name)
    kind = checkpoint.config["model_type"]
    if not writes(kind):
        raise UserError(f"a checkpoint of {kind}, which writes nothing of pictures", name)
    adapter.quiet()
    processor = _processor(checkpoint)
    dtype: Any = "auto" if device.type == "cuda" else torch.float32
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            checkpoint.folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        body, info = loaded[0].to(device).eval(), loaded[1]
    except ImportError as e:
        raise _lacking(e) from e
    except Exception as e:  # safetensors, pickle, the loader and the device each raise their own
        if is_out_of_memory(e):
            raise UserError(f"memory on {device} does not hold its weights", name, "--device cpu, or a smaller checkpoint") from e
        raise UserError(f"the weights cannot be read ({str(e).strip().splitlines()[0]})", name) from e
    missing = sorted(info["missing_keys"]) or [str(key) for key in info["mismatched_keys"]]
    if missing:
        raise UserError(f"the weights are incomplete: {len(missing)} tensors are missing, e.g. {missing[0]}", name)
    return VisionLanguage(checkpoint, body, processor, prompt)


def _processor(checkpoint: Checkpoint) -> Any:
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    manner = MANNERS.get(checkpoint.config["model_type"])
    try:
        if manner is not None and not manner.question:
            parts = (
                each.from_pretrained(checkpoint.folder, local_files_only=True) for each in (AutoImageProcessor, AutoTokenizer)
            )
            return Parts(*parts)
        processor = AutoProcessor.from_pretrained(checkpoint.folder, local_files_only=True)
    except ImportError as e:
        raise _lacking(e) from e
    except Exception as e:  # a file that is missing or damaged: OSError, ValueError, KeyError …
        raise UserError(f"it has no processor that can be read ({str(e).strip().splitlines()[0]})", checkpoint.name) from e
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        hint = "the folder needs the files of its tokenizer and of its processor"
        raise UserError("it has no processor of pictures and words", checkpoint.name, hint)
    return processor


def _lacking(e: ImportError) -> UserError:
    """Which package of the extra is not there, as transformers says it in several lines."""
    said = str(e).lower()
    package = next((name for name in ("torchvision", "num2words", "sentencepiece") if name in said), "")
    return missing_extra(package or str(getattr(e, "name", "")) or said.split("\n")[0], EXTRA)
