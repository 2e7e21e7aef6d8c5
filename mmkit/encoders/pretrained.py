"""One adapter to the vision, text and audio checkpoints of transformers: any of them becomes tokens, mask and a pooled vector.

B batch, S side in pixels, N image tokens, M text tokens, D width
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.encoders import causal, listening
from mmkit.encoders.image import Normalise
from mmkit.layers import Encoded, Maps, State, everywhere, masked_mean

POOLS = ("native", "cls", "mean", "max", "last")

# model_type -> the pooling of ours that it was trained for, where the shape of its output does not tell.
# "native" is the checkpoint's own trained pooling: CLIP's normalised class token and end token, SigLIP's attention pool and last
# position.
POOL = {
    "clip_vision_model": "native",
    "clip_text_model": "native",
    "siglip_vision_model": "native",
    "siglip_text_model": "native",
    "siglip2_vision_model": "native",
    "siglip2_text_model": "native",
    "swin": "mean",
    "swinv2": "mean",
    "audio-spectrogram-transformer": "native",
    "clap_audio_model": "native",
    "clap_text_model": "native",
}
# Trained without an attention mask on texts filled up to the full length, whose padding is part of the text (arXiv:2303.15343).
UNMASKED = {"siglip_text_model", "siglip2_text_model"}
# Whole models with an encoder of each modality inside: model_type -> its keys for them.
PARTS = {"image": "vision_config", "text": "text_config", "audio": "audio_config", "video": "vision_config"}
# how the weights of a part are called in the whole where transformers does not see it: model_type of the part -> renamings
RENAMED = {"clap_audio_model": {r"^audio_model\.": ""}}


class Pretrained(nn.Module):
    """An encoder of transformers, built from its configuration; its weights come from the checkpoint or the run (see `load`).

    BatchNorm always keeps the checkpoint's statistics, also while the encoder learns: a vector must not depend on batch mates.

    Args:
        modality: what it encodes.
        from_: the checkpoint's folder or hub id; only remembered.
        architecture: the checkpoint's configuration of this encoder, JSON; written by train, so that a run needs no checkpoint.
        pool: "native", "cls", "mean", "max" or "last" (real token); default: the one the architecture was trained for.
        size: side of the pictures in pixels; mean, std: of `Normalise`; None where pixels come normalised.
        lr_factor: this encoder learns at `train.lr` times this.

    Raises:
        ValueError: the architecture is missing, is unknown to transformers, or is of another modality.
    """

    def __init__(
        self,
        from_: str = "",
        architecture: str = "",
        pool: str | None = None,
        lr_factor: float = 0.05,
        *,
        modality: str,
        size: int = 224,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not from_ and not architecture:
            raise ValueError("kind pretrained needs `from`: a checkpoint folder or a hub id")
        if not architecture:
            architecture = describe(from_, modality)
        self.modality, self.lr_factor = modality, lr_factor
        self.normalise = Normalise(mean, std) if mean and std else nn.Identity()
        config = _config(json.loads(architecture), from_)
        self.body = _without_pooler(_body(config))
        if _encodes(self.body) != modality:
            raise ValueError(f"{from_ or config.model_type} is no {modality} checkpoint (its model_type is {config.model_type})")
        self.body.float()
        kind = config.model_type
        self.masked = kind not in UNMASKED
        self.pool = pool or POOL.get(kind) or ("cls" if self.prefix else "mean")
        if self.pool not in POOLS:
            raise ValueError(f"no pooling {self.pool!r}; known: {', '.join(POOLS)}")
        # positions of a transformer are for one size; others are interpolated where the architecture can
        known = "interpolate_pos_encoding" in inspect.signature(self.body.forward).parameters
        resized = known and size != getattr(config, "image_size", size)
        self.options = {"interpolate_pos_encoding": True} if resized else {}
        # NaFlex (SigLIP 2) takes pictures cut into patches
        self.patch = config.patch_size if kind == "siglip2_vision_model" else 0
        if self.patch and size % self.patch:
            raise ValueError(f"pictures of {size} px cannot be cut into patches of {self.patch}")
        self.dim = self._width(config, size)
        self.causal = causal.is_causal(config)

    def forward(
        self, pixels: Tensor | None = None, ids: Tensor | None = None, mask: Tensor | None = None, sound: Tensor | None = None
    ) -> Encoded:
        """Pixels (B, 3, S, S), or ids (B, M) and their mask (B, M), or a sound as `listening.hear` takes it and its mask."""
        if pixels is not None:
            pixels = self.normalise(pixels)
            given = _patches(pixels, self.patch) if self.patch else {"pixel_values": pixels}
            out = self.body(**given, **self.options)
        elif sound is not None:
            assert mask is not None
            out, mask = listening.hear(self.body, sound, mask)
        else:
            out = self.body(input_ids=ids, attention_mask=mask.long() if self.masked and mask is not None else None)
        tokens = out.last_hidden_state
        if tokens.ndim == 4:  # a convolutional map
            tokens = tokens.flatten(2).transpose(1, 2)  # (B, N, D)
        mask = everywhere(tokens) if mask is None else mask
        return Encoded(tokens, mask, self._pooled(tokens, mask, out))

    def words(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the blocks of a language model begin with, without what they add of places: (B, M, D), and the mask."""
        return self.body.get_input_embeddings()(ids), mask

    def word(self, ids: Tensor, state: State) -> Tensor:
        """The same of the next token of each text, ids (B,)."""
        return self.words(ids[:, None], ids)[0]

    @property
    def depth(self) -> int:
        """Blocks of a language model."""
        return len(causal.blocks(self.body))

    def start(self) -> State:
        """Before the first token of texts that a language model reads one token after the other."""
        return causal.start(self.body)

    def drive(
        self, x: Tensor, mask: Tensor, between: Callable[[int, Tensor], Tensor] | None = None, state: State | None = None
    ) -> Tensor:
        """See `causal.drive`."""
        return causal.drive(self.body, x, mask, between, state)

    @contextmanager
    def capturing(self, name: str, maps: Maps) -> Iterator[None]:
        """See `mmkit.layers.capture`. Only the eager implementation has weights, so it is put in and taken out again; the
        pooling heads of SigLIP, and what has no attention, give none."""
        before = self.body.config._attn_implementation
        taken: set[int] = set()

        def keep(path: str, output: Any) -> None:
            weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            # an attention inside another returns the same tensor twice
            if isinstance(weights, Tensor) and weights.ndim == 4 and id(weights) not in taken:
                taken.add(id(weights))
                maps.setdefault(path, []).append(weights)

        hooks = []
        for path, module in self.body.named_modules():
            if "Attention" in type(module).__name__:
                hooks.append(module.register_forward_hook(lambda m, i, output, p=path: keep(f"{name}.body.{p}", output)))
        try:
            self.body.set_attn_implementation("eager")
            yield
        finally:
            self.body.set_attn_implementation(before)
            for hook in hooks:
                hook.remove()

    def train(self, mode: bool = True) -> Pretrained:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def _pooled(self, tokens: Tensor, mask: Tensor, out: Any) -> Tensor:
        if self.pool == "native":
            pooled = out.get("pooler_output")
            if pooled is None:
                raise ValueError("this architecture has no pooling of its own: set `pool`")
            return pooled.flatten(1)
        if self.pool == "cls":
            return tokens[:, 0]
        if self.pool == "last":
            last = mask.sum(1) - 1
            return tokens[torch.arange(tokens.size(0), device=tokens.device), last]
        if self.pool == "max":
            return tokens.masked_fill(~mask[..., None], -torch.inf).amax(1)
        patches = slice(self.prefix, None)
        mean = masked_mean(tokens[:, patches], mask[:, patches])
        # ConvNeXt ends with a trained LayerNorm of the global mean
        return self.body.layernorm(mean) if out.last_hidden_state.ndim == 4 and hasattr(self.body, "layernorm") else mean

    def laid(self, weights: Tensor, sound: Tensor, heard: Tensor, mask: Tensor) -> Tensor:
        """See `listening.laid`."""
        return listening.laid(self.body, weights, sound, heard, mask)

    @property
    def prefix(self) -> int:
        """Tokens before the patches: a class token, one of distillation and registers where there are any."""
        embeddings = getattr(self.body, "embeddings", None)
        has_class = getattr(embeddings, "cls_token", None) is not None or hasattr(embeddings, "class_embedding")
        distilled = getattr(embeddings, "distillation_token", None) is not None
        return has_class + distilled + (getattr(self.body.config, "num_register_tokens", 0) or 0)

    def _width(self, config: Any, size: int) -> int:
        if self.pool == "native" and getattr(config, "projection_size", None):
            return config.projection_size
        width = getattr(config, "hidden_size", None)
        if width:
            return width
        if getattr(config, "hidden_sizes", None):
            return config.hidden_sizes[-1]
        # MobileNet states its widths as rules only: look at what comes out
        with torch.no_grad():
            probe = torch.zeros(1, 3, size, size, device=next(self.body.parameters()).device)
            return self.body.eval()(pixel_values=probe, **self.options).last_hidden_state.size(1)


def _patches(pixels: Tensor, side: int) -> dict[str, Tensor]:
    """Pictures (B, 3, S, S) as NaFlex takes them (arXiv:2502.14786): patches of `side` pixels, and the shape of their grid."""
    B, _, S, _ = pixels.size()
    n = S // side
    patches = pixels.unflatten(3, (n, side)).unflatten(2, (n, side))  # (B, 3, n, side, n, side)
    return {
        "pixel_values": patches.permute(0, 2, 4, 3, 5, 1).reshape(B, n * n, -1),  # (B, N, side * side * 3)
        "pixel_attention_mask": torch.ones(B, n * n, dtype=torch.long, device=pixels.device),
        "spatial_shapes": torch.full((B, 2), n, dtype=torch.long, device=pixels.device),
    }


def describe(folder: str, modality: str) -> str:
    """The architecture of a checkpoint folder's encoder of `modality`, as JSON that `Pretrained` takes.

    Raises:
        ValueError: transformers does not know the architecture, or it has no such encoder.
    """
    quiet()
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, KeyError, OSError) as e:
        raise ValueError(f"transformers does not know this architecture ({str(e).splitlines()[0]})") from e
    config = getattr(config, PARTS[modality], None) or config
    left_out = {"transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path", "id2label", "label2id"}
    return json.dumps({k: v for k, v in config.to_diff_dict().items() if k not in left_out}, sort_keys=True)


def shared_width(folder: str) -> int:
    """The width of the space that a whole checkpoint's encoders share: of its projections, or of its pooled vectors."""
    quiet()
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return getattr(config, "projection_dim", None) or config.vision_config.hidden_size


def load(encoder: Pretrained, folder: str, architecture: str) -> None:
    """Fill `encoder` with a checkpoint folder's weights: safetensors, or a pickle read as weights only.

    Raises:
        ValueError: weights are missing or do not fit.
    """
    config = _config(json.loads(architecture), folder)
    try:
        found, info = _class(config).from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            key_mapping=RENAMED.get(config.model_type),
        )
    except Exception as e:  # safetensors, pickle and the loader each raise their own for a damaged file
        raise ValueError(f"the weights cannot be read ({str(e).strip().splitlines()[0]})") from e
    part = "encoder." if found.config.is_encoder_decoder else ""
    found = _without_pooler(listening.hears(found))
    wanted = encoder.body.state_dict()
    # the number of batches that BatchNorm has seen changes nothing in eval mode, and older checkpoints lack it
    missing = [k for k in info["missing_keys"] if k.removeprefix(part) in wanted and not k.endswith("num_batches_tracked")]
    if missing or info["mismatched_keys"]:
        bad = missing or [k[0] if isinstance(k, tuple) else k for k in info["mismatched_keys"]]
        raise ValueError(
            f"the weights do not fit the architecture: {len(bad)} tensors are missing or of another shape, e.g. {sorted(bad)[0]}"
        )
    encoder.body.load_state_dict(found.state_dict())


def vocabulary(folder: str, architecture: str) -> nn.Linear | None:
    """See `causal.vocabulary`."""
    return causal.vocabulary(folder, _config(json.loads(architecture), folder))


def _config(table: dict[str, Any], name: str) -> Any:
    quiet()
    from transformers import AutoConfig

    kind = table.get("model_type", "")
    try:
        return AutoConfig.for_model(kind, **{k: v for k, v in table.items() if k != "model_type"})
    except ValueError as e:
        raise ValueError(f"transformers does not know the architecture {kind!r} of {name}") from e


def _body(config: Any) -> Any:
    return listening.hears(_class(config)._from_config(config))


def _class(config: Any) -> Any:
    """The class of a configuration's model without a head."""
    import transformers

    # AutoModel leaves out some parts of whole models, such as SigLIP's text encoder
    name = type(config).__name__.removesuffix("Config") + "Model"
    if type(config) not in transformers.MODEL_MAPPING and hasattr(transformers, name):
        return getattr(transformers, name)
    try:
        found = transformers.MODEL_MAPPING[type(config)]
        return found[0] if isinstance(found, tuple | list) else found
    except KeyError as e:
        raise ValueError(f"transformers has no encoder for the architecture {config.model_type!r}") from e


def _encodes(body: Any) -> str:
    """The modality of what a model takes."""
    if body.main_input_name in listening.INPUTS:
        return "audio"
    return "text" if getattr(body.config, "vocab_size", None) is not None else "image"


def _without_pooler(body: Any) -> Any:
    # BERT's and ViT's poolers are trained for another task or not at all; SigLIP's and CLIP's are called head and post_layernorm
    # CLAP's is what its projections read
    trained = POOL.get(body.config.model_type) == "native"
    if not trained and sum(p.numel() for p in getattr(getattr(body, "pooler", None), "parameters", list)()):
        body.pooler = None
    return body


def quiet() -> None:
    """transformers draws bars and warns of unused heads on stderr, which is ours to talk on."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
