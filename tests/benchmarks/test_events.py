"""Where models of sounds, series and videos look, and models of pictures by depth maps, against where the named thing is.

Run it on an idle machine: python -m pytest tests/benchmarks/test_events.py -s
"""

from __future__ import annotations

import json

import pytest

from mmkit.loading import load_model
from tests import events

ALL = "train data --recipe nmodal --workers 1 --set train.eval_every=1000 --name pointing --set {of}.dim=32 --set {of}.patch=4 "
WORDS = "--set encoder.text.dim=32 --set encoder.text.layers=1 --set {of}.kind={kind} "
LONG, SHORT = "--batch-size 32 --lr 3e-3 --steps 200 ", "--batch-size 16 --lr 4e-3 "
# what is set beside, and the shares of maps that peak on the named thing, at least, and on the other one, at most
KINDS = {
    "audio": (LONG + WORDS, 0.5, 0.1),
    "series": (LONG + WORDS, 0.4, 0.08),
    "video": (
        SHORT + WORDS + "--steps 150 --set data.video.frames=4 --set data.video.size=32 --set data.video.augment=[]",
        *(0.3, 0.1),
    ),
    "depth": (
        SHORT + "--steps 200 --set loss.itc.between=['image','depth'] --set input.depth.column=depth "
        "--set input.depth.modality=image --set input.depth.encoder=depth --set encoder.depth.kind=vit "
        "--set encoder.depth.dim=32 --set encoder.depth.patch=4 --set data.image.size=32 --set data.image.augment=[]",
        *(0.35, 0.3),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_peaks_on_what_is_named(kind, invoke, tmp_path):
    events.dataset(kind, tmp_path / "data")
    beside, least, most = KINDS[kind]
    of = "encoder.image" if kind == "depth" else f"encoder.{kind}"
    trained = invoke(*(ALL + beside).format(of=of, kind=kind).split(), cwd=tmp_path)
    assert trained.code == 0, trained.stderr
    model = load_model(str(tmp_path / "runs/pointing"), "cpu")
    found = {method: events.game(model, kind, 60, method) for method in ("relevance", "attention", "rollout")}
    print(json.dumps({kind: found}))
    own, other = found["relevance"]
    assert own >= least and other <= most
