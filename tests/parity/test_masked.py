"""Masked modelling against transformers: FLAVA's losses of the same logits, its codes, and BERT's head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.batch import Batch, Want
from mmkit.losses import build
from mmkit.losses.codebook import Dvae
from tests.parity.conftest import TINY, save
from tests.small import reader

SAID = ["a red picture", "blue", "all of it is green", "green"]
CODES = 24


@pytest.fixture(scope="module")
def flava(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tiny FlavaForPreTraining over our own tokens, and the folder of its codebook."""
    from transformers import FlavaConfig, FlavaForPreTraining

    folder, words = tmp_path_factory.mktemp("flava"), reader("text").tokenizer
    sizes = TINY | {"num_hidden_layers": 1}
    config = FlavaConfig(
        image_config=sizes | {"image_size": 16, "patch_size": 8, "vocab_size": CODES},
        text_config=sizes | {"vocab_size": words.vocab_size, "max_position_embeddings": 16},
        multimodal_config=sizes,
        image_codebook_config={"hidden_size": 8, "num_blocks_per_group": 1, "vocab_size": CODES},
        hidden_size=32,
        projection_dim=16,
    )
    torch.manual_seed(0)
    model = FlavaForPreTraining(config).eval()
    book = save(model.image_codebook, folder) and model.image_codebook
    # as they are drawn, one code is the largest everywhere: let all have the same mean
    with torch.no_grad():
        book.blocks[-1].conv.bias -= book(torch.rand(8, 3, 40, 40)).mean((0, 2, 3))
    book.save_pretrained(folder)
    return model, folder


@pytest.fixture
def batch() -> Batch:
    """Pictures and texts of which something is hidden."""
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (len(SAID), 3, 16, 16), dtype=torch.uint8)
    clean = {"image": {"pixels": pixels}, "text": reader("text").collate(SAID)}
    may = reader("text").units(clean["text"], None)
    hidden = {"text": may & (torch.rand(may.shape) < 0.5), "image": torch.rand(len(SAID), 4) < 0.5}
    hidden["text"][:, 1], hidden["image"][:, 2] = True, True
    return Batch([f"row {i}" for i in range(len(SAID))], clean, hidden=hidden)


def ours(kind: str, of: str, batch: Batch, logits: torch.Tensor, folder: Path) -> float:
    """Our loss of logits (B, N, V) of which the hidden ones count."""
    name = of.rpartition(".")[2]
    readers = {"image": reader("image"), "text": reader("text")}
    targets = {"grids": {"image": [0, 4]}, "codes": CODES} if name == "image" else {}
    keys = {"codebook": str(folder)} if name == "image" else {}
    loss = build("one", {"kind": kind, "of": of, **keys}, {"readers": readers, "targets": targets})
    version = Batch(batch.ids, {}, hidden=batch.hidden)
    rows = Batch(batch.ids, batch.inputs, versions={loss.version: version})
    got = {Want("one", "logits", loss.version): loss.pick(logits, version)}
    return float(loss.score(got, rows) / loss.count(rows))


def test_mlm_mim_and_mmm_are_flavas(flava: tuple[Any, Path], batch: Batch) -> None:
    model, folder = flava
    ids, mask, hidden = batch.inputs["text"]["ids"], batch.inputs["text"]["mask"], batch.hidden
    pixels = batch.inputs["image"]["pixels"] / 255
    words = {
        "input_ids": ids,
        "input_ids_masked": ids.masked_fill(hidden["text"], reader("text").tokenizer.mask),
        "attention_mask": mask.long(),
        "mlm_labels": ids.masked_fill(~hidden["text"], -100),
    }
    patches = {
        "pixel_values": pixels,
        "codebook_pixel_values": 0.8 * pixels + 0.1,
        "bool_masked_pos": hidden["image"].view(-1, 2, 2),
    }
    both = words | patches | {"itm_labels": torch.ones(len(SAID), dtype=torch.long)}
    with torch.no_grad():
        found = {
            ("mlm", "text", "mlm"): model(**words, return_loss=True),
            ("mim", "image", "mim"): model(**patches, return_loss=True),
            ("mmm", "fused.text", "mmm_text"): model(**both, skip_unmasked_multimodal_encoder=True, return_loss=True),
            ("mmm", "fused.image", "mmm_image"): model(**both, skip_unmasked_multimodal_encoder=True, return_loss=True),
        }
    for (kind, of, theirs), out in found.items():
        name = of.rpartition(".")[2]
        # FLAVA gives the logits of hidden places alone
        given = out[f"{theirs}_logits"]
        logits = torch.full((*hidden[name].shape, given.size(-1)), 9.0)
        logits[hidden[name]] = given
        assert ours(kind, of, batch, logits, folder) == pytest.approx(float(out.loss_info[theirs]), rel=1e-5), theirs


def test_codes_are_those_of_flavas_codebook(flava: tuple[Any, Path], picture: Any) -> None:
    from transformers import FlavaImageProcessor

    model, folder = flava
    pictures = reader("image")
    # 5 x 5 patches, whose codebook picture has 40 pixels a side, whatever the encoder's has
    processor = FlavaImageProcessor(codebook_size={"height": 40, "width": 40}, codebook_crop_size={"height": 40, "width": 40})
    shown = picture(40, 40)
    given = processor([shown], return_codebook_pixels=True, return_tensors="pt")
    theirs = model.image_codebook.get_codebook_indices(given["codebook_pixel_values"]).flatten(1)
    from mmkit.data.pixels import to_tensor

    codes = Dvae(str(folder))(pictures.patches({"pixels": to_tensor(shown)[None]}, 25, 8))
    assert torch.equal(codes, theirs) and len(codes.unique()) > 3
    # of a larger picture those of the same picture made small
    twice = torch.nn.functional.interpolate(to_tensor(shown)[None].float(), scale_factor=2, mode="nearest").to(torch.uint8)
    again = Dvae(str(folder))(pictures.patches({"pixels": twice}, 25, 8))
    assert (again == theirs).float().mean() > 0.8


def test_the_head_is_berts() -> None:
    from transformers import BertConfig, BertForMaskedLM

    words = reader("text")
    config = BertConfig(**TINY, vocab_size=words.tokenizer.vocab_size, max_position_embeddings=16, tie_word_embeddings=False)
    torch.manual_seed(0)
    bert = BertForMaskedLM(config).eval()
    tensors = words.collate(SAID)
    hidden = words.units(tensors, None)
    loss = build("mlm", {"kind": "mlm", "of": "text"}, {"readers": {"text": words}})
    head, theirs = loss.head(TINY["hidden_size"]), bert.cls.predictions
    for one, other in ((head[0], theirs.transform.dense), (head[2], theirs.transform.LayerNorm), (head[3], theirs.decoder)):
        one.load_state_dict(other.state_dict())
    head[2].eps = config.layer_norm_eps
    with torch.no_grad():
        out = bert(
            input_ids=tensors["ids"],
            attention_mask=tensors["mask"].long(),
            labels=tensors["ids"].masked_fill(~hidden, -100),
            output_hidden_states=True,
        )
        version = Batch(SAID, {}, hidden={"text": hidden})
        rows = Batch(SAID, {"text": tensors}, versions={"mlm": version})
        logits = head(loss.pick(out.hidden_states[-1], version))
        found = loss.score({Want("mlm", "logits", "mlm"): logits}, rows) / loss.count(rows)
    assert torch.allclose(logits, out.logits[hidden], atol=1e-6)
    assert float(found) == pytest.approx(float(out.loss), rel=1e-6)
