#!/usr/bin/env bash
# A model that writes: captions of pictures, and how near they come to what was written about them.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-10000}"
mmkit train --recipe caption --steps "${STEPS:-1600}" --lr 2e-3
mmkit eval caption --limit 100
python3 - <<'PYTHON'
from mmkit.data.shards import open_dataset
for row, _ in zip(open_dataset("data").rows("test", ["id", "image"]), range(2)):
    open(f"{row['id']}.png", "wb").write(row["image"]["bytes"])
PYTHON
mmkit caption test-*.png --beams 3
mmkit attn-viz "$(ls test-*.png | head -n 1)" -o seen.html    # where it looked for each word it wrote
