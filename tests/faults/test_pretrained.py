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
from PIL import Image
from transformers import CLIPImageProcessorPil

from mmkit.config import Config
from mmkit.data.checkpoint import context, open_checkpoint, pooling, tokenizer
from mmkit.embedding import embed_texts
from mmkit.errors import UserError
from mmkit.foreign import open_whole, resolve
from mmkit.loading import init_tables, load_model


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
        build("image", "image", config.encoder["image"], {"modality": "image", "size": 32})


def test_not_a_whole_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a whole CLIP, SigLIP or CLAP") as e:
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


TOKENIZER_FILES = [[], ["vocab.json"], ["merges.txt"], ["tokenizer_config.json", "special_tokens_map.json"]]
TRAIN = ["train", "data", "--steps", 1]


@pytest.mark.parametrize("files", TOKENIZER_FILES, ids=lambda files: "+".join(files) or "none")
def test_a_whole_model_without_a_tokenizer(
    files: list[str], tmp_path: Path, run: Path, clip_like: Callable[[Path], Path], invoke: Callable[..., Any]
) -> None:
    """transformers makes an empty vocabulary of it, in which every text is the same."""
    (tmp_path / "data").symlink_to(run / "data")
    folder = clip_like(tmp_path / "clip")
    (folder / "tokenizer.json").unlink()
    for file in files:
        (folder / file).write_text("{}")
    ways = [["embed", "--model", "./clip"], ["eval", "recall@1", "--model", "./clip"], [*TRAIN, "--init", "./clip"]]
    ways += [["retrieve", "red", "--model", "./clip"], [*TRAIN, "--text-encoder", "./clip"]]
    for way in ways:
        outcome = invoke(*way, cwd=tmp_path)
        assert outcome.code == 1
        error, hint = outcome.stderr.splitlines()[-2:]
        assert error.startswith("error: the checkpoint has no tokenizer (none of tokenizer.json, vocab.txt")
        assert error.endswith("./clip") and "--local-dir clip" in hint
    assert not (tmp_path / "runs").exists()
    outcome = invoke(*TRAIN, "--image-encoder", "./clip", "--size", "tiny", cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr


def test_where_a_tokenizer_is_to_be_had(tmp_path: Path) -> None:
    """Older checkpoints say which one of the Hub they were made from."""
    folder = bert(tmp_path, _name_or_path="google-bert/bert-base-uncased")
    with pytest.raises(UserError) as e:
        tokenizer(open_checkpoint(str(folder)), 16, True)
    assert e.value.hint.startswith("hf download google-bert/bert-base-uncased --include 'tokenizer*'")


def test_a_damaged_tokenizer(tmp_path: Path, clip_like: Callable[[Path], Path]) -> None:
    folder = clip_like(tmp_path)
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text()[:40])
    with pytest.raises(UserError, match="tokenizer cannot be read"):
        open_whole(str(folder))


def test_a_vocabulary_without_tokenizer_json_is_read(tmp_path: Path) -> None:
    folder = bert(tmp_path)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\nblue\n")
    assert tokenizer(open_checkpoint(str(folder)), 16, True)(["red blue"])["ids"].tolist() == [[2, 5, 6, 3]]


def test_a_vocabulary_of_another_kind_of_tokenizer(tmp_path: Path) -> None:
    folder = bert(tmp_path, model_type="roberta", vocab_size=50265)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\nred\n")
    with pytest.raises(UserError, match="the checkpoint has no tokenizer"):
        tokenizer(open_checkpoint(str(folder)), 16, True)


def test_a_checkpoint_that_says_nothing_of_pictures(
    tmp_path: Path, run: Path, clip_like: Callable[[Path], Path], invoke: Callable[..., Any]
) -> None:
    """Whatever way it is used, its architecture's own defaults are taken for its size, and that is said."""
    (tmp_path / "data").symlink_to(run / "data")
    clip_like(tmp_path / "clip")
    whose = "CLIPImageProcessor's defaults: the checkpoint has no preprocessor_config.json"
    picture = tmp_path / "a.png"
    Image.new("RGB", (20, 10)).save(picture)
    outcome = invoke("predict", picture, "red", "blue", "--model", "./clip", cwd=tmp_path)
    assert f"./clip: pictures of 16 px, bicubic, mean [0.48145466, 0.4578275, 0.40821073] ({whose})" in outcome.stderr
    for way in (["embed"], ["retrieve", "red"], ["eval", "recall@1"]):
        assert whose in invoke(*way, "--model", "./clip", cwd=tmp_path).stderr
    for n, way in enumerate((["--init", "./clip"], ["--image-encoder", "./clip"])):
        outcome = invoke(*TRAIN, *way, "--name", n, cwd=tmp_path)
        assert outcome.code == 0, outcome.stderr
        assert whose in outcome.stderr
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16).save_pretrained(tmp_path / "clip")
    assert "preprocessor_config" not in invoke("predict", picture, "red", "--model", "./clip", cwd=tmp_path).stderr


def test_patches_that_do_not_fit(tmp_path: Path) -> None:
    """SigLIP 2's NaFlex cuts pictures into whole patches; the error does not print the whole architecture."""
    from mmkit.encoders import build

    (tmp_path / "config.json").write_text('{"model_type": "siglip2_vision_model", "patch_size": 8, "num_hidden_layers": 1}')
    config = using(image=str(tmp_path))
    resolve(config)
    with pytest.raises(UserError, match="20 px cannot be cut into patches of 8") as e:
        build("image", "image", config.encoder["image"], {"modality": "image", "size": 20})
    assert e.value.where == f"encoder.image: {{'from': '{tmp_path}'}}"


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
    assert embed_texts(load_model("someone/clip-tiny", "cpu"), ["red"]).shape == (1, 4)
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
