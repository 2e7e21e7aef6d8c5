#!/usr/bin/env bash
# Generated scenes: prepare, train, measure, search, and read the answers with a plain pipe.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-10000}"
mmkit train --steps "${STEPS:-600}"
mmkit eval recall@k
mmkit retrieve "a small red circle at the top left" --top 3 | head -n 1
