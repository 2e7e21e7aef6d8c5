"""A language model of transformers, driven block by block: what a fusion needs of `Pretrained` beside tokens and vectors.

B rows, N tokens, M tokens of all so far, D width, V tokens of the vocabulary
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.layers import State


class Past:
    """The keys and values that transformers keeps of the tokens before, as one of a `State`'s caches."""

    def __init__(self, config: Any) -> None:
        from transformers import DynamicCache

        self.held = DynamicCache(config=config)

    def take(self, rows: Tensor) -> None:
        """Keep some rows (R,), in this order; one may be taken more than once."""
        if self.held.get_seq_length():
            self.held.batch_select_indices(rows)


def is_causal(config: Any) -> bool:
    """Whether an architecture is one of decoders alone, in which no token sees those behind it."""
    import transformers

    return (
        type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING
    )


def start(body: Any) -> State:
    """Before the first token."""
    state = State(0)
    state.caches = [(Past(body.config),)]
    return state


def drive(
    body: Any, x: Tensor, mask: Tensor, between: Callable[[int, Tensor], Tensor] | None = None, state: State | None = None
) -> Tensor:
    """What a model makes of x (B, N, D), which need not be words: tokens (B, N, D).

    Args:
        mask: of x and of all that `state` holds before it, (B, M).
        between: what becomes of x before the block of a number.
    """
    known = inspect.signature(body.forward).parameters
    # renamed within transformers 5, where the old name warns
    name = "cache" if "cache" in known else "past_key_values"
    more = {} if state is None else {name: state.caches[0][0].held, "use_cache": True}
    if "position_ids" in known:  # else padding would count, and with it how long the others of a batch are
        more["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -x.size(1) :]
    with _before_blocks(body, between):
        out = body(inputs_embeds=x, attention_mask=mask.long(), **more)
    tokens: Tensor = out.last_hidden_state
    return tokens


def blocks(body: Any) -> nn.ModuleList:
    """The blocks of a model: the first list of as many modules as it has layers.

    Raises:
        ValueError: there is none.
    """
    depth = getattr(body.config, "num_hidden_layers", None)
    for module in body.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise ValueError(f"the blocks of {body.config.model_type} are not where those of a language model are")


@contextmanager
def _before_blocks(body: Any, between: Callable[[int, Tensor], Tensor] | None) -> Iterator[None]:
    """While open, what goes into a block goes through `between` first, where that is given."""
    hooks = []

    def hook(i: int) -> Any:
        def changed(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            assert between is not None
            if args:
                return (between(i, args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": between(i, kwargs["hidden_states"])}

        return changed

    for i, block in enumerate(blocks(body) if between is not None else ()):
        hooks.append(block.register_forward_pre_hook(hook(i), with_kwargs=True))
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def vocabulary(folder: str, config: Any) -> nn.Linear | None:
    """The layer by which a causal checkpoint foretells a token, None of another architecture.

    Raises:
        ValueError: the weights cannot be read.
    """
    from transformers import AutoModelForCausalLM

    if not is_causal(config):
        return None
    try:
        found = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except Exception as e:  # safetensors, pickle and the loader each raise their own for a damaged file
        raise ValueError(f"the weights cannot be read ({str(e).strip().splitlines()[0]})") from e
    last: nn.Linear = found.get_output_embeddings()
    return last
