#!/usr/bin/env bash
# How strongly is it meant? Words say whether a review is kind, a voice how strongly; here both are drawn, as in CMU-MOSI.
set -euo pipefail
python3 - <<'PYTHON'
import numpy as np
rng = np.random.default_rng(0)
n = 600
sign, strength = rng.choice([-1, 1], n), rng.uniform(0, 1, n)
text = np.array([f"i found it {'great' if s > 0 else 'awful'}" for s in sign])
time = np.arange(24) / 2 + rng.uniform(0, 6, n)[:, None]
series = (2 * strength[:, None] * np.sin(time))[:, None] + rng.normal(0, 0.2, (n, 2, 24))
np.savez("mosi.npz", text=text, series=series.astype("float32"), sentiment=(sign * (0.5 + 2.5 * strength)).astype("float32"))
np.save("loud.npy", series[strength.argmax()].astype("float32"))
PYTHON
printf 'great\tlovely, brilliant\nawful\tdreadful, terrible\n' > words.txt
mmkit prep table ./data --source mosi.npz
mmkit train --recipe sentiment --steps "${STEPS:-150}" --batch-size 32 --set data.text.synonyms=words.txt
mmkit eval regress
mmkit predict loud.npy "i found it great" "i found it awful"
