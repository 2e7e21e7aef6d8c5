#!/usr/bin/env bash
# One page about a run: how good it is with intervals, what it finds and misses, a map, what it looks at, the data.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-5000}"
run=$(mmkit train --steps "${STEPS:-600}")
mmkit report "$run" -o report.html
