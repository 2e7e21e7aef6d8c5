"""The encoders of pictures that are trained from scratch."""

from __future__ import annotations

import subprocess
import sys

ABOVE_WHAT_STANDS_STILL = """
import torch
from mmkit.encoders.image import CNN

torch.manual_seed(0)
encoder, pixels = CNN(16, 1, 4, mean=[0.5] * 3, std=[0.5] * 3), torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
encoder(pixels).pooled.square().sum().backward()
whole = {name: p.grad.clone() for name, p in encoder.named_parameters()}
for name, p in encoder.named_parameters():
    p.grad = None
    p.requires_grad_(name.startswith("blocks"))
encoder(pixels).pooled.square().sum().backward()
for name, p in encoder.named_parameters():
    assert p.grad is None or torch.allclose(p.grad, whole[name], atol=1e-6), name
    assert (p.grad is not None) == name.startswith("blocks"), name
"""


def test_the_upper_blocks_learn_above_a_stem_that_does_not() -> None:
    """In a process of its own: what is guarded against kills it."""
    found = subprocess.run([sys.executable, "-c", ABOVE_WHAT_STANDS_STILL], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
