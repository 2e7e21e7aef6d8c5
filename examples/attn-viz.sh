#!/usr/bin/env bash
# What a model looks at: small patches and bare phrases beside whole captions teach it where things are.
set -euo pipefail
mmkit prep shapes ./data --phrases 0.4 --limit "${SCENES:-10000}"
mmkit train --steps "${STEPS:-1200}" --lr 3e-3 --set encoder.image.patch=4 --set encoder.image.layers=1
mmkit attn-viz --id test-000150 -o scene.png
mmkit attn-viz --id test-000150 -o scene.html
mmkit attn-viz --id test-000150 "a circle" --faithfulness --json
