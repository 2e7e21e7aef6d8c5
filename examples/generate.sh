#!/usr/bin/env bash
# Pictures as codes, and new ones of a text, in the order of a model that compares pictures and texts.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-10000}"
codes=$(mmkit train --recipe dvae --steps "${STEPS:-1000}")
dalle=$(mmkit train --recipe dalle --init "$codes" --steps "${STEPS:-1000}")
clip=$(mmkit train --recipe clip --steps "${STEPS:-800}")
mmkit eval reconstruction --model "$codes" --split test
mmkit generate "a large red circle at the top left" --model "$dalle" --n 16 --rerank "$clip" -o sheet.png
