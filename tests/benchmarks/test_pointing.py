"""Where a model looks, against where things are: the pointing game on scenes whose boxes are known, and faithfulness.

Run it on an idle machine: python -m pytest tests/benchmarks/test_pointing.py -s
"""

from __future__ import annotations

import json

import numpy as np
import torch

from mmkit.explain.asked import ask
from mmkit.explain.attention import explain
from mmkit.explain.faithfulness import faithfulness
from mmkit.loading import from_run, load_model, run_config
from tests.pointing import chance, hits, others, targets

# patches of 4 pixels, one layer, the mean of the patches as the vector; 40 % of the scenes captioned by one object's bare phrase
TRAIN = (
    "train --steps 1600 --batch-size 128 --lr 3e-3 --set encoder.image.patch=4 --set encoder.image.layers=1 "
    "--set loss.itc.temperature=0.04 --set train.eval_every=400 --name pointing"
)
SCENES = 200


def test_the_map_of_an_object_peaks_on_it(invoke, tmp_path):
    assert invoke("prep", "shapes", "data", "--phrases", 0.4, cwd=tmp_path).code == 0
    trained = invoke(*TRAIN.split(), cwd=tmp_path)
    assert trained.code == 0, trained.stderr
    run = tmp_path / "runs/pointing"
    (record,) = invoke("eval", "recall@k", "--json", cwd=tmp_path).lines
    recall = {name: record["metrics"][f"{name}_recall@1"] for name in ("image_retrieval", "text_retrieval")}
    model, wanted = load_model(str(run), "cpu"), targets(tmp_path / "data", SCENES)
    found = {method: hits(model, wanted, method) for method in ("relevance", "attention", "rollout", "gradcam")}
    found["relevance, the other object"] = hits(model, others(wanted))
    # an untrained encoder looks at what stands out, and so at either object, but knows no word
    random = [_untrained(run, seed, wanted) for seed in range(6)]
    found["random weights"], found["random weights, the other object"] = map(float, np.mean(random, axis=0))
    print(json.dumps({"R@1": recall, "pointing": found, "chance": chance(wanted), "objects": len(wanted)}, indent=1))
    assert min(recall.values()) >= 0.6
    assert found["relevance"] >= 0.65
    assert found["relevance, the other object"] < 0.2
    assert found["random weights"] < 0.25
    assert abs(found["random weights"] - found["random weights, the other object"]) < 0.05

    areas = np.mean([_areas(model, one) for one in wanted[:100:2]], axis=0)
    print("deletion, random, insertion, random:", areas.round(3))
    deletion, random_deletion, insertion, random_insertion = areas
    assert deletion < random_deletion < insertion and random_insertion < insertion


def _untrained(run, seed, wanted):
    torch.manual_seed(seed)
    model = from_run(run_config(run), run).eval()
    return hits(model, wanted[:200]), hits(model, others(wanted[:200]))


def _areas(model, one):
    asked = ask(model, model.reader("image").prepare(one.item), one.text)
    found = faithfulness(asked, explain(model, one.item, one.text).grid)
    return found.deletion, found.random_deletion, found.insertion, found.random_insertion
