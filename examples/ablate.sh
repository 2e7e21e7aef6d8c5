#!/usr/bin/env bash
# What does each input give a model that answers questions? Each baseline of one input is trained, with several seeds.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-2000}"
run=$(mmkit train --recipe fusion-late --steps "${STEPS:-400}")
mmkit ablate --from "$run" --drop image,text --seeds "${SEEDS:-1}" -o ./worth > rows.jsonl
cat worth/table.md
