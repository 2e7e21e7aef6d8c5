#!/usr/bin/env bash
# The shared space as a map: a figure, a page to zoom and search, coordinates, and new points on an old map.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-2000}"
run=$(mmkit train --steps "${STEPS:-300}")
vectors=$(mmkit embed --model "$run")
mmkit umap "$vectors" --split train --fit map.arrow -o train.png --color cluster
mmkit umap "$vectors" --split test --transform map.arrow -o test.png
mmkit umap map.arrow -o map.html --thumbnails 200
mmkit umap map.arrow -o coordinates.parquet
mmkit umap map.arrow --color label              # in the terminal
