"""A MobileNetV2 with its batch norm folded into the convolutions maps exactly to a transformers checkpoint and our adapter."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.encoders.pretrained import Pretrained, describe, load

STRIDES = [2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]  # of features.2 to features.17 (arXiv:1801.04381, table 2)
PARTS = ("expand_1x1", "conv_3x3", "reduce_1x1")


def names() -> dict[str, str]:
    """Folded name (torchvision's, without .weight) -> the convolution's name in transformers."""
    found = {
        "features.0.0": "conv_stem.first_conv",
        "features.1.conv.0.0": "conv_stem.conv_3x3",
        "features.1.conv.1": "conv_stem.reduce_1x1",
    }
    for i in range(len(STRIDES)):
        found |= {
            f"features.{i + 2}.conv.{conv}": f"layer.{i}.{part}" for conv, part in zip(("0.0", "1.0", "2"), PARTS, strict=True)
        }
    return found | {"features.18.0": "conv_1x1"}


def convert(folded: dict[str, Tensor], folder: Path, depth: float = 1.0) -> None:
    """Write folded weights as a checkpoint folder: batch norm with weight 1, bias b, mean 0, variance 1 - eps."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, MobileNetV2ImageProcessorPil

    classes = folded["classifier.1.bias"].numel()
    model = MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=classes, depth_multiplier=depth, tf_padding=True))
    with torch.no_grad():
        for folded_name, name in names().items():
            layer = model.mobilenet_v2.get_submodule(name)
            layer.convolution.weight.copy_(folded[f"{folded_name}.weight"])
            norm = layer.normalization
            norm.weight.fill_(1.0)
            norm.bias.copy_(folded[f"{folded_name}.bias"])
            norm.running_mean.fill_(0.0)
            norm.running_var.fill_(1.0 - norm.eps)
        model.classifier.weight.copy_(folded["classifier.1.weight"])
        model.classifier.bias.copy_(folded["classifier.1.bias"])
    model.save_pretrained(folder)
    # (x - 128) / 128 of pixels 0..255
    mean = [128 / 255] * 3
    MobileNetV2ImageProcessorPil(image_mean=mean, image_std=mean).save_pretrained(folder)


def conv(x: Tensor, folded: dict[str, Tensor], name: str, stride: int = 1, groups: int = 1) -> Tensor:
    """A convolution with bias, padded as TensorFlow's SAME: the odd pixel goes to the right and the bottom."""
    weight = folded[f"{name}.weight"]
    kernel, size = weight.size(-1), x.size(-1)
    pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
    return F.conv2d(x, weight, folded[f"{name}.bias"], stride, groups=groups)


def forward(folded: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, 3, S, S) to the global mean (B, D) and the logits (B, classes)."""
    x = F.relu6(conv(x, folded, "features.0.0", 2))
    x = F.relu6(conv(x, folded, "features.1.conv.0.0", 1, x.size(1)))
    x = conv(x, folded, "features.1.conv.1")
    for i, stride in enumerate(STRIDES, 2):
        y = F.relu6(conv(x, folded, f"features.{i}.conv.0.0"))
        y = F.relu6(conv(y, folded, f"features.{i}.conv.1.0", stride, y.size(1)))
        y = conv(y, folded, f"features.{i}.conv.2")
        x = x + y if stride == 1 and y.shape == x.shape else y
    pooled = F.relu6(conv(x, folded, "features.18.0")).mean((2, 3))
    return pooled, F.linear(pooled, folded["classifier.1.weight"], folded["classifier.1.bias"])


def check(folded: dict[str, Tensor], folder: Path, pixels: Tensor) -> tuple[float, float]:
    """Largest differences of the pooled vector (our adapter) and of the logits (transformers) to the plain forward."""
    from transformers import MobileNetV2ForImageClassification

    architecture = describe(str(folder), "image")
    encoder = Pretrained(str(folder), architecture, modality="image", size=pixels.size(-1))
    load(encoder, str(folder), architecture)
    whole = MobileNetV2ForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        pooled, logits = forward(folded, pixels)
        found, found_logits = encoder.train()(pixels).pooled, whole(pixels).logits
    return float((found - pooled).abs().max()), float((found_logits - logits).abs().max())


def test_a_folded_mobilenet(tmp_path: Path) -> None:
    from transformers import MobileNetV2Config, MobileNetV2Model

    torch.manual_seed(0)
    body = MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.35, tf_padding=True))
    folded = {}
    for folded_name, name in names().items():
        weight = body.get_submodule(name).convolution.weight
        folded[f"{folded_name}.weight"] = torch.randn_like(weight) * (2 / weight[0].numel()) ** 0.5
        folded[f"{folded_name}.bias"] = torch.randn(weight.size(0)) * 0.1
    folded |= {"classifier.1.weight": torch.randn(7, 1280) * 0.03, "classifier.1.bias": torch.randn(7)}
    convert(folded, tmp_path, 0.35)
    pooled, logits = check(folded, tmp_path, torch.rand(2, 3, 65, 65) * 2 - 1)
    assert pooled <= 1e-4
    assert logits <= 1e-4
