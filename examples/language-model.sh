#!/usr/bin/env bash
# A language model learns to see: one of the captions alone, then LLaVA's way (it learns, too) and Flamingo's (it stays as it is).
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-10000}"
eyes=$(mmkit train --recipe caption --steps "${STEPS:-1600}" --name eyes)
seen=$(mmkit train --recipe clip --init "$eyes" --lock-image --name seen --steps "${STEPS:-300}" --lr 1.5e-3 --set train.batch_limit=64 \
    --set encoder.text.causal=true --set encoder.text.pool=eos --set encoder.text.layers=2 \
    --set loss.lm.kind=lm --set loss.lm.of=text --set data.text.context=32)
mmkit train --recipe flamingo --init "$seen" --steps "${STEPS:-3500}" --name flamingo
mmkit train --recipe llava --init "$seen" --steps "${STEPS:-2000}" --name llava
mmkit eval caption vqa --model runs/llava --model runs/flamingo --limit 100
python3 - <<'PYTHON'
from mmkit.data.shards import open_dataset
(row,) = list(open_dataset("data").rows("test", ["id", "image"]))[:1]
open("scene.png", "wb").write(row["image"]["bytes"])
PYTHON
mmkit caption scene.png --model runs/llava
mmkit answer scene.png "how many shapes are there?" --model runs/flamingo
