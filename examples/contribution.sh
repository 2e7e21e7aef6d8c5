#!/usr/bin/env bash
# What a decision is made of: here a caption is right or wrong about its picture, so both are needed. Shares by three methods.
set -euo pipefail
python3 - <<'PYTHON'
import random
from PIL import Image
random.seed(0)
colours = {"red": (200, 40, 40), "blue": (40, 40, 200)}
with open("table.csv", "w", encoding="utf-8") as table:
    table.write("picture,caption,label\n")
    for i in range(400):
        shown, said = (random.choice(list(colours)) for _ in range(2))
        shade = tuple(value + random.randrange(40) for value in colours[shown])
        Image.new("RGB", (16, 16), shade).save(f"{i}.png")
        table.write(f"{i}.png,it is {said},{'right' if shown == said else 'wrong'}\n")
PYTHON
mmkit prep table ./data --source table.csv
mmkit train --recipe fusion-mid --steps "${STEPS:-240}" --batch-size 32 --lr 0.002 --set data.image.size=16
mmkit contribution --by-class -o contribution.png
