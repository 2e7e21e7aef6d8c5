#!/usr/bin/env bash
# Classes by their names alone: how often is the sentence of the right class the nearest? With what a model costs beside.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-1000}"
mmkit train --steps "${STEPS:-200}"
mmkit eval zero-shot                                             # the shapes of a scene: the column label
mmkit eval zero-shot --classes "circle,square,triangle,cross" --templates "a {}" --templates "a drawing of a {}."
mmkit eval cost zero-shot recall@1,5 --format md
