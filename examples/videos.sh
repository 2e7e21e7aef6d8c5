#!/usr/bin/env bash
# Which way does it move? Each frame alone does not say; a transformer over the frames does. Takes mmkit[video].
set -euo pipefail
python3 - <<'PYTHON'
import os, random
from PIL import Image, ImageDraw
random.seed(0)
ways = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
os.makedirs("clips", exist_ok=True)
for i in range(int(os.environ.get("SCENES", 400))):
    (way, (dx, dy)), colour = random.choice(list(ways.items())), random.choice(["red", "green", "blue"])
    across, frames = random.randint(0, 50), []
    for step in range(12):
        along = 4 * step if dx + dy > 0 else 48 - 4 * step
        x, y = (along, across) if dx else (across, along)
        frames.append(Image.new("RGB", (64, 64), "white"))
        ImageDraw.Draw(frames[-1]).ellipse((x, y, x + 12, y + 12), fill=colour)
    frames[0].save(f"clips/{i:03d}.gif", save_all=True, append_images=frames[1:], duration=80, loop=0)
    with open(f"clips/{i:03d}.txt", "w") as caption:
        caption.write(f"a {colour} ball moves {way}")
PYTHON
mmkit prep folder ./data --source clips
mmkit train --recipe nmodal --batch-size 32 --steps "${STEPS:-300}"
mmkit eval recall@k --split test
mmkit retrieve "a red ball moves up" --find video --top 4 --figure found.png    # a sheet of frames
mmkit retrieve clips/000.gif --find text --top 3
