#!/usr/bin/env bash
# Is the longer training worth it? Both runs answer the same queries; the figure shows each difference with its interval.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-2000}"
mmkit train --steps 1 --name untrained
mmkit train --steps "${STEPS:-300}" --name trained
mmkit compare runs/untrained runs/trained --figure difference.png -o queries.csv
head -n 4 queries.csv
