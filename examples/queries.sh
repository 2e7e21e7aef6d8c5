#!/usr/bin/env bash
# Many queries through a pipe: JSON lines in, JSON lines out, each answered as it comes.
set -euo pipefail
mmkit prep shapes ./data --limit "${SCENES:-2000}"
run=$(mmkit train --steps "${STEPS:-200}")
printf '%s\n' '{"id": "q1", "text": "a blue square"}' '{"id": "q2", "text": "a red cross above a green circle"}' |
    mmkit retrieve - --model "$run" --top 2 > answers.jsonl
wc -l < answers.jsonl
