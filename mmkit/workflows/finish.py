"""The last weights of a run: adapters added to what they adapt, and the fine-tuned weights mixed with the first ones."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmkit.config import Config
from mmkit.errors import ConfigError
from mmkit.files import writing
from mmkit.loading import WEIGHTS, from_run, load_weights
from mmkit.model import Model
from mmkit.talk import Measured
from mmkit.training.run import save_weights

FIRST = "first.safetensors"  # in a run folder, until the run is finished: the weights that it did not draw itself
FINETUNED = Path("checkpoints") / "finetuned"  # in a run folder: the weights before they were mixed


def first_weights(config: Config, model: Model, fresh: Collection[str]) -> dict[str, Tensor]:
    """A copy of the weights that a run starts from, where it mixes them in again at its end; else nothing.

    Args:
        fresh: the names of tensors that no checkpoint gave.

    Raises:
        ConfigError: there are none.
    """
    if config.train.interpolate is None:
        return {}
    found = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items() if k not in fresh and v.is_floating_point()}
    if not found:
        what = "the run starts from random weights: there is nothing to mix the fine-tuned ones with"
        raise ConfigError(what, "train.interpolate", hint="leave --interpolate out; --init names a run to start from")
    return found


def keep_first(first: dict[str, Tensor], folder: Path) -> None:
    """Keep `first_weights` in a run folder."""
    if first:
        with writing(folder / FIRST) as path:
            save_file(first, path)


def mix(first: dict[str, Tensor], last: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of the last weights and the rest of the first (WiSE-FT, arXiv:2109.01903, section 3); what is not among the first
    stays. A weight that is the same in both stays to the bit."""
    return last | {name: torch.lerp(tensor, last[name], share) for name, tensor in first.items()}


def finish(
    config: Config, folder: Path, model: Model, weights: str, evaluate: Callable[[Model], Measured] | None
) -> tuple[Model, str]:
    """Make the weights of a run that has come to its end those of a plain model, and mix them; once more gives the same.

    Args:
        model: as trained; weights: which of its weights were kept, in words.
        evaluate: measures val.

    Returns:
        The model with these weights, and what they are in words.
    """
    train = config.train
    if train.lora is None and train.interpolate is None:
        return model, weights
    plain, unmixed = from_run(config, folder), folder / FINETUNED / WEIGHTS
    load_weights(plain, unmixed if unmixed.exists() else folder / WEIGHTS)
    if train.interpolate is not None:
        save_weights(plain, unmixed)
        plain.load_state_dict(mix(load_file(folder / FIRST), plain.state_dict(), train.interpolate))
    save_weights(plain, folder / WEIGHTS)
    plain.to(model.device).eval()
    if train.interpolate is None:
        return plain, weights
    measured = evaluate(plain) if evaluate else None
    on_val = f"; on val: {measured.name.replace('_', ' ')} {measured.score:.4f}" if measured else ""
    parts = {train.init or "the encoders' checkpoints": 1 - train.interpolate, f"{FINETUNED} ({weights})": train.interpolate}
    return plain, " + ".join(f"{share:g} x {source}" for source, share in parts.items()) + on_val


def clean(folder: Path) -> None:
    """Remove from a finished run what it needed on the way."""
    (folder / FIRST).unlink(missing_ok=True)
