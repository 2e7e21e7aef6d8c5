#!/usr/bin/env bash
# Fine-tune on other scenes, the lower blocks slower, and mix the old weights in again: what is learnt, and what is forgotten?
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-2000}"
mmkit prep shapes ./new --limit "${SCENES:-500}" --seed 7 --phrases 1
mmkit train --steps "${STEPS:-400}" --name first
mmkit train ./new --init runs/first --tune layerwise --interpolate 0.5 --lr 5e-4 --steps "${STEPS:-100}" --name second
for data in data new; do
  mmkit eval recall@k --data $data -m runs/first -m runs/second/checkpoints/finetuned -m runs/second --no-intervals --format csv
done
