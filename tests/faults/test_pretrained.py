"""What can be wrong with a checkpoint: each has one plain line."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mmkit.config import Config
from mmkit.data.checkpoint import context, open_checkpoint, pooling
from mmkit.errors import UserError
from mmkit.model import load_model
from mmkit.pretrained import init_tables, open_whole, resolve


def using(image: str | None = None, text: str | None = None) -> Config:
    given = {"image": image, "text": text}
    return Config(encoder={m: {"kind": "pretrained", "from": name} for m, name in given.items() if name})


def bert(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 64} | config))
    return folder


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "runs/nothing", "a/b/c"])
def test_a_path_is_never_looked_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the Hub"))
    with pytest.raises(UserError, match="no such folder"):
        open_checkpoint(name)
    with pytest.raises(UserError, match="no such"):
        load_model(name)


def test_a_path_that_exists_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bert(tmp_path / "google" / "bert")
    assert open_checkpoint("google/bert").config["model_type"] == "bert"


def test_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        open_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="names no model_type"):
        open_checkpoint(str(tmp_path))


def test_an_unknown_architecture(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not know"):
        resolve(using(text=str(bert(tmp_path, model_type="brandnew"))))


def test_a_checkpoint_of_another_modality(tmp_path: Path, clip_like: Callable[[Path], Path]) -> None:
    from mmkit.encoders import build

    config = using(image=str(bert(tmp_path)))
    resolve(config)
    with pytest.raises(UserError, match="is no image checkpoint"):
        build("image", config.encoder["image"], {"modality": "image", "size": 32})


def test_not_a_whole_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a whole CLIP or SigLIP") as e:
        load_model(str(bert(tmp_path)))
    assert "--text-encoder" in e.value.hint
    with pytest.raises(UserError, match="no such run or checkpoint"):
        init_tables("./nowhere")


def test_weights_are_missing_or_damaged(tmp_path: Path, clip_like: Callable[[Path], Path]) -> None:
    folder = clip_like(tmp_path)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        open_whole(str(folder))
    weights.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        open_whole(str(folder))
    from safetensors.torch import load, save_file

    tensors = load(whole)
    del tensors["visual_projection.weight"]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(UserError, match="incomplete"):
        open_whole(str(folder))


@pytest.fixture
def clip_like() -> Callable[[Path], Path]:
    """Save a tiny CLIP with a word tokenizer."""

    def make(folder: Path) -> Path:
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import CLIPConfig, CLIPModel

        tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "projection_dim": 4}
        text, vision = tiny | {"vocab_size": 9, "max_position_embeddings": 8}, tiny | {"image_size": 16, "patch_size": 8}
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=4)).save_pretrained(folder)
        backend = Tokenizer(models.WordLevel({"<unk>": 0, "red": 1, "blue": 2}, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        backend.save(str(folder / "tokenizer.json"))
        return folder

    return make


def test_text_length(tmp_path: Path) -> None:
    folder = bert(tmp_path)
    assert context(open_checkpoint(str(folder)), 512) == 64
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884624838656}')
    assert context(open_checkpoint(str(folder)), 512) == 64
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    assert context(open_checkpoint(str(folder)), 512) == 20
    roberta = bert(tmp_path / "roberta", model_type="roberta", max_position_embeddings=66, pad_token_id=1)
    assert context(open_checkpoint(str(roberta)), 512) == 64


def test_a_sentence_transformers_pooling(tmp_path: Path) -> None:
    folder = bert(tmp_path)
    assert pooling(open_checkpoint(str(folder))) is None
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules += [{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    for flags, expected in (({"cls_token": True, "mean_tokens": False}, "cls"), ({"mean_tokens": True}, "mean")):
        spec = {f"pooling_mode_{k}": v for k, v in flags.items()}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(spec))
        assert pooling(open_checkpoint(str(folder))) == expected
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_weightedmean_tokens": true}')
    with pytest.raises(UserError, match="not one mmkit has"):
        pooling(open_checkpoint(str(folder)))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """A Hub on this machine that serves `<folder>/ORG/NAME`, and the paths it was asked for."""
    import huggingface_hub.constants as constants

    root, asked, commit = tmp_path / "served", [], "0" * 40

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            parts = self.path.partition("?")[0].strip("/").split("/")
            api = parts[:2] == ["api", "models"]
            org, name = parts[2:4] if api else parts[:2]
            repo = root / org / name
            if not repo.is_dir():
                self._reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif api:
                files = [str(p.relative_to(repo)) for p in repo.rglob("*") if p.is_file()]
                listing = [{"type": "file", "path": f, "size": (repo / f).stat().st_size, "oid": "1" * 40} for f in files]
                info = {"id": f"{org}/{name}", "sha": commit, "siblings": [{"rfilename": f} for f in files]}
                self._reply(200, json.dumps(listing if "tree" in parts else info).encode())
            else:
                data = (repo / "/".join(parts[4:])).read_bytes()
                self._reply(200, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit})

        do_HEAD = do_GET

        def _reply(self, code: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for key, value in {"Content-Length": str(len(data)), "Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # huggingface_hub reads HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE once, when it is imported
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield root, asked
    server.shutdown()
    server.server_close()


def test_a_hub_id_fetches_only_what_is_used(hub: tuple[Path, list[str]], clip_like: Callable[[Path], Path]) -> None:
    root, _ = hub
    folder = clip_like(root / "someone" / "clip-tiny")
    for extra in ("flax_model.msgpack", "pytorch_model.bin", "onnx/model.onnx", "README.md"):
        (folder / extra).parent.mkdir(exist_ok=True)
        (folder / extra).write_bytes(b"not wanted")
    found = open_checkpoint("someone/clip-tiny")
    names = {p.name for p in found.folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"flax_model.msgpack", "pytorch_model.bin", "README.md", "onnx"}
    assert load_model("someone/clip-tiny", "cpu").encode_texts(["red"]).shape == (1, 4)
    with pytest.raises(UserError, match="no such model on the Hugging Face Hub"):
        open_checkpoint("someone/else")


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"cannot reach http://127\.0\.0\.1:9") as e:
        open_checkpoint("someone/clip-tiny")
    assert e.value.hint
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        open_checkpoint("someone/clip-tiny")
