#!/usr/bin/env bash
# Regions of a frozen network's map, a transformer over words and regions (UNITER), and its answers to questions.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-10000}"
mmkit train --image-encoder cnn --steps "${STEPS:-400}" --name cnn
mmkit prep regions ./regions --source ./data --encoder runs/cnn --grid 3
mmkit train ./regions --recipe uniter --steps "${STEPS:-900}" --name uniter
mmkit train ./regions --recipe fusion-mid --init runs/uniter --set fusion.kind=merged --set 'fusion.inputs=["regions", "question"]' \
  --set fusion.layers=3 --set encoder.text.layers=0 --lr 1e-3 --steps "${STEPS:-900}" --name answers
mmkit eval vqa --data ./regions --model runs/answers
