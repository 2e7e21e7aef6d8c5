"""The feature extractors of audio checkpoints of transformers, as they are: samples to frames, or to samples.

B rows, T samples, N frames or samples, F bands
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmkit.data.checkpoint import Checkpoint
from mmkit.errors import UserError
from mmkit.files import read_json

if TYPE_CHECKING:
    import numpy as np
    import torch

TYPE = "feature_extractor_type"
FILTERS = ("mel_filters", "mel_filters_slaney")  # made of the other settings
FRAME_SHIFT = 0.010  # seconds, of the frames that AST counts


def extractor_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings of a checkpoint's feature extractor; what it leaves unsaid is its class's. `seconds` is the
    most that it hears.

    Raises:
        UserError: there is none, or none of those that transformers has for the architecture.
    """
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES as KNOWN

    stated: dict[str, Any] = {}
    for file, key in (("preprocessor_config.json", None), ("processor_config.json", "feature_extractor")):
        path = checkpoint.folder / file
        found = read_json(path) if not stated and path.exists() else {}
        stated = stated or (found.get(key) or {} if key else found)
    kind = str(checkpoint.config["model_type"])
    name = stated.get(TYPE) or KNOWN.get(kind) or KNOWN.get(kind.removesuffix("_audio_model"))
    if not name:
        raise UserError("it has no feature extractor of sounds", checkpoint.name, "its preprocessor_config.json names one")
    made = _made(name, stated, checkpoint.name)
    settings = {k: v for k, v in made.to_dict().items() if k not in FILTERS and k != "processor_class"} | {TYPE: name}
    seconds = getattr(made, "chunk_length", None) or getattr(made, "max_length_s", None)
    if seconds is None and getattr(made, "max_length", None):
        seconds = made.max_length * FRAME_SHIFT
    return settings | ({"seconds": float(seconds)} if seconds else {})


def _made(name: str, settings: dict[str, Any], where: str = "") -> Any:
    import transformers

    cls = getattr(transformers, name, None)
    if cls is None:
        raise UserError(f"transformers has no feature extractor {name}", where)
    return cls.from_dict({k: v for k, v in settings.items() if k != "seconds"})


class Extract:
    """Samples to what a checkpoint's encoder takes: float32 (N, F), or samples (N,), and which of them are heard, bool (N,).

    Args:
        settings: as `extractor_of` gives them.
        seconds: at most so much is heard. All that has no mask of its own is filled up to it, for there what stands beside a
            sound in a batch would change how it is heard.
    """

    def __init__(self, settings: dict[str, Any], seconds: float) -> None:
        self.made = _made(settings[TYPE], settings)
        self.rate, self.most = settings["sampling_rate"], int(seconds * settings["sampling_rate"])

    def __call__(self, values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        import numpy as np
        import torch

        found = self.made(values[: self.most], sampling_rate=self.rate, return_tensors="np")
        frames = torch.from_numpy(np.array(found[self.made.model_input_names[0]][0], np.float32))
        if frames.ndim == 1:
            return frames, torch.ones(len(frames), dtype=torch.bool)
        if frames.ndim == 3:  # CLAP: one picture, or its four views of a long sound, which are equal of a short one
            return frames, torch.ones(frames.size(1), dtype=torch.bool)
        if frames.size(0) == self.made.feature_size != frames.size(1):  # Whisper has the bands first
            frames = frames.T.contiguous()
        hop = getattr(self.made, "hop_length", None) or round(self.rate * FRAME_SHIFT)
        heard = -(-min(len(values), self.most) // hop)
        return frames, torch.arange(frames.size(0)) < max(1, heard)

    def collate(self, drawn: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Several of them: {"sound", "mask"}; samples are filled up with 0 to the longest, those without a
        mask to the most."""
        import torch

        longest = max(len(mask) for _, mask in drawn)
        if drawn[0][0].ndim == 1 and not self.made.return_attention_mask:
            longest = max(longest, self.most)

        def padded(x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(x, (0, longest - x.size(0))) if x.ndim == 1 else x

        return {"sound": torch.stack([padded(x) for x, _ in drawn]), "mask": torch.stack([padded(m) for _, m in drawn])}
