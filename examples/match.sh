#!/usr/bin/env bash
# A model that compares pictures and texts, and reads both together: retrieval in two steps, and what belongs together.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-9000}"
mmkit train --recipe match --steps "${STEPS:-400}"
mmkit eval match recall@k                    # pairs told from others, and recall of the vectors alone
mmkit eval recall@k --rerank 10              # the 10 nearest of each query in the order of the matching head
mmkit retrieve "a red circle" --top 3 --find image --save found
for picture in found/*; do                   # lines of JSON in, lines of JSON out
    echo "{\"image\": \"$picture\", \"texts\": [\"a red circle\", \"a blue square\"]}"
done | mmkit predict -
