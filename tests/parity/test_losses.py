"""Our losses equal those inside transformers' CLIPModel and SiglipModel on the same vectors."""

from __future__ import annotations

from pathlib import Path

import torch

from mmkit.losses.contrastive import infonce, sigmoid


def test_infonce_equals_clip(clip_folder: Path) -> None:
    from transformers import CLIPModel

    torch.manual_seed(1)
    model = CLIPModel.from_pretrained(clip_folder).eval()
    ids = torch.randint(0, model.config.text_config.vocab_size - 3, (6, 9))
    ids[:, -1] = model.config.text_config.eos_token_id
    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=torch.randn(6, 3, 32, 32), return_loss=True)
        found = infonce(out.image_embeds, out.text_embeds, model.logit_scale.exp())
        tiled = infonce(out.image_embeds, out.text_embeds, model.logit_scale.exp(), tile=4)
    assert abs(found - out.loss) <= 1e-6
    assert abs(tiled - out.loss) <= 1e-6


def test_sigmoid_equals_siglip(siglip_folder: Path) -> None:
    from transformers import SiglipModel

    torch.manual_seed(1)
    model = SiglipModel.from_pretrained(siglip_folder).eval()
    with torch.no_grad():
        model.logit_scale.fill_(2.3)  # the paper's start; transformers' own, 0 and 0, is another loss
        model.logit_bias.fill_(-10.0)
        ids = torch.randint(0, 10, (6, 16))
        out = model(input_ids=ids, pixel_values=torch.randn(6, 3, 32, 32), return_loss=True)
        scale, bias = model.logit_scale.exp().squeeze(), model.logit_bias.squeeze()
        found = sigmoid(out.image_embeds, out.text_embeds, scale, bias)
        tiled = sigmoid(out.image_embeds, out.text_embeds, scale, bias, tile=4)
    assert abs(found - out.loss) <= 1e-6
    assert abs(tiled - out.loss) <= 2e-6
