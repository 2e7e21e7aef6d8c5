#!/usr/bin/env bash
# A table of your own: here one is drawn, in real life it lies there. Captions may be in any script.
set -euo pipefail
python3 - <<'PYTHON'
from PIL import Image
colours = {"red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色"}
with open("table.csv", "w", encoding="utf-8") as table:
    table.write("picture,caption\n")
    for i, (name, word) in enumerate(list(colours.items()) * 10):
        Image.new("RGB", (40 + i, 40), name).save(f"{i}.png")
        table.write(f"{i}.png,{word}的图片 {i}\n")
PYTHON
mmkit prep table ./data --source table.csv
mmkit train --steps "${STEPS:-100}"
mmkit predict 0.png "红色的图片" "蓝色的图片"
