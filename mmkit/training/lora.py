"""LoRA (arXiv:2106.09685): beside a frozen layer W one of low rank learns, W x + alpha / r * B A x, with B = 0 at the start.

It is a way to train, not a kind of model: adapters are attached when a run begins, and what reads its weights adds them to W
(`mmkit.loading`), so that peft is needed to train alone.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from mmkit.config import Config
from mmkit.errors import ConfigError, missing_extra, nearest, setting
from mmkit.loading import lora_scale
from mmkit.training.stages import learns, stages_of

# query and value of an attention, as own encoders and those of transformers call them; GPT-2 has them in one with the key
QUERY_VALUE = ("q", "v", "query", "value", "q_proj", "v_proj", "q_lin", "v_lin", "c_attn")


def attach(encoders: nn.ModuleDict, config: Config) -> None:
    """Attach adapters to the encoders in which a stage lets them learn; no output changes.

    Raises:
        ConfigError: no encoder has such a layer.
        UserError: the package is not installed.
    """
    train = config.train
    if train.lora is None:
        return
    wanted = tuple(train.lora_targets or QUERY_VALUE)
    found = {}
    for name, encoder in encoders.items():
        layers = [path for path, module in encoder.named_modules() if path.split(".")[-1] in wanted and _takes(module)]
        known = {path: f"encoder.{name}.{path}.lora_A.default.weight" for path in layers}
        found[name] = [path for path, own in known.items() if any(learns(stage, own) for stage in stages_of(config))]
    if not any(found.values()):
        raise _nothing(encoders, config, wanted)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as e:
        raise missing_extra("peft", "lora") from e
    alpha = train.lora * lora_scale(config, train.lora)
    # no other weight hangs on whether there are adapters
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # of GPT-2's Conv1D, which peft then reads as it is
        torch.manual_seed(train.seed)
        for name, layers in found.items():
            if layers:
                made = LoraConfig(r=train.lora, lora_alpha=alpha, target_modules=layers)  # type: ignore[arg-type]  # peft divides it
                inject_adapter_in_model(made, encoders[name])


def _takes(module: nn.Module) -> bool:
    # Conv1D is GPT-2's Linear
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D" or getattr(module, "groups", 0) == 1


def _nothing(encoders: nn.ModuleDict, config: Config, wanted: tuple[str, ...]) -> ConfigError:
    layers = [module for encoder in encoders.values() for module in encoder.named_modules() if _takes(module[1])]
    if any(path.split(".")[-1] in wanted for path, _ in layers):
        what = "no stage lets an adapter learn"
        return ConfigError(
            what, "stage", "train.lora", hint=setting("stage", [{"train": ["*", "!encoder.*", "encoder.*.lora_*"]}])
        )
    there = sorted({path.split(".")[-1] for path, _ in layers} - {""})
    what = f"no layer of an encoder is called {', '.join(wanted)}: there is nothing to adapt"
    if config.train.lora_targets:
        return ConfigError(what, "train.lora_targets", hint=nearest(wanted[0], there))
    return ConfigError(what, "train.lora", hint=setting("train.lora_targets", there) if there else "")
