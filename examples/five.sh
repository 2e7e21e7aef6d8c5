#!/usr/bin/env bash
# Five modalities in one space: pictures, captions, sounds, motion and depth, each missing in some rows. All are trained with
# pictures alone, and found by each other. Here a table is drawn, in real life it lies there.
set -euo pipefail
python3 - <<'PYTHON'
import json, math, random, wave
from array import array
from PIL import Image
colours = ["red", "green", "blue", "yellow", "purple", "orange"]
chance = random.Random(0)
with open("table.jsonl", "w") as table:
    for i in range(240):
        n, x, y = chance.randrange(6), chance.randrange(3), chance.randrange(3)
        picture, depth = Image.new("RGB", (48, 48), "gray"), Image.new("I;16", (48, 48), 5000)
        picture.paste(colours[n], (16 * x, 16 * y, 16 * x + 16, 16 * y + 16))
        depth.paste(1000 + 500 * n, (16 * x, 16 * y, 16 * x + 16, 16 * y + 16))  # millimetres: a colour is a distance
        picture.save(f"{i}.png"), depth.save(f"{i}-depth.png")
        tones = [math.sin(t * hertz / 2546) for hertz in (300 + 90 * n, 1200 + 300 * x, 3000 + 600 * y) for t in range(2400)]
        with wave.open(f"{i}.wav", "wb") as sound:
            sound.setparams((1, 2, 16000, 0, "NONE", ""))
            sound.writeframes(array("h", (int(9000 * tone) for tone in tones)).tobytes())
        motion = [[math.sin(t * (n + 1) / 4) for t in range(24)], [x + chance.gauss(0, 0.1) for _ in range(24)], [y] * 24]
        words = f"{colours[n]} at the {('top', 'middle', 'bottom')[y]} {('left', 'centre', 'right')[x]}"
        row = {"image": f"{i}.png", "caption": words, "sound": f"{i}.wav", "motion": motion, "far": f"{i}-depth.png"}
        row = {name: value if chance.random() > (0.1 if name == "image" else 0.3) else None for name, value in row.items()}
        table.write(json.dumps({"id": str(i)} | row) + "\n")
PYTHON
mmkit prep table ./data --source table.jsonl --column audio=sound --column series=motion --column depth=far
mmkit train --recipe nmodal --set loss.itc.anchor=image --steps "${STEPS:-150}"
mmkit eval recall@1
mmkit retrieve 7.wav --find series --top 5 --figure series.png   # never compared with sounds in training
mmkit retrieve depth=7-depth.png --find text --top 3
mmkit retrieve 7.wav --plus "red at the top left" --find depth --top 3
