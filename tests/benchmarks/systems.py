"""The README's table of systems: each is trained and measured by the commands of its row, in a folder of its own.

    python -m tests.benchmarks.systems                  # all of them, and the table is written anew
    python -m tests.benchmarks.systems clip align       # these rows; the others stay as they are
    python -m tests.benchmarks.systems clip --check     # nothing is written; fails where a figure lies below its floor

A system is one `System` in SYSTEMS.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.busy import busy

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BEGIN, END = "<!-- systems: python -m tests.benchmarks.systems -->", "<!-- /systems -->"
HEAD = "| system | trained by | parameters | CPU seconds | on what it never saw | beside |\n|---|---|---:|---:|---|---|\n"


@dataclass(frozen=True)
class Figure:
    """A number of a JSON object that a command prints.

    Args:
        words: what it is called in the table.
        key: where it stands in the object, levels joined by dots: `metrics.vqa_accuracy`.
        floor: what it must reach.
        of: the command; by default the system's own.
    """

    words: str
    key: str
    floor: float | None = None
    of: str = ""


@dataclass(frozen=True)
class System:
    """A row of the table.

    Args:
        name: in the first column, and on the command line of this script.
        train: the commands that make the model, as a user types them; their seconds of processor time count, which other work
            on the machine changes little.
        ask: the command whose last line of JSON holds the figures, and under `cost.parameters` the size.
        figures: what is measured.
        beside: what it is compared with, such as another run's figures or chance.
        data: the commands before, whose seconds do not count.
        others: further commands whose seconds do not count, such as the training of what stands beside.
    """

    name: str
    train: tuple[str, ...]
    ask: str
    figures: tuple[Figure, ...]
    beside: tuple[Figure, ...] = ()
    data: tuple[str, ...] = ("mmkit prep shapes shapes",)
    others: tuple[str, ...] = ()


def retrieval(recipe: str, floor: float, options: str) -> System:
    """A model of pairs on `shapes`: R@1 among 300 captions and pictures of combinations that training never saw."""
    return System(
        name=recipe,
        train=(f"mmkit train shapes --recipe {recipe} {options} --name {recipe}",),
        ask=f"mmkit eval recall@k --data shapes --model runs/{recipe} --json",
        figures=tuple(Figure(f"R@1 {words}", f"metrics.{key}_recall@1", floor) for key, words in WAYS.items()),
        beside=(Figure("chance", "chance.text_retrieval_recall@1"),),
    )


ANSWERED = ("colour", "shape", "count", "place", "relation", "existence")
ONE_SIDED = ("question", "image")


def answering(name: str, floor: float, options: str) -> System:
    """Questions about the 300 unseen scenes, by their type; beside it models of the question alone and of the image alone."""
    alone = "mmkit train shapes --recipe fusion-mid --set loss.task.of={one} --steps 300 --name {one}"
    ask = {one: f"mmkit eval vqa --data shapes --model runs/{one} --json" for one in (*ONE_SIDED, name)}
    key = "metrics.vqa_accuracy"
    return System(
        name=name,
        train=(f"mmkit train shapes --recipe vqa {options} --name {name}",),
        ask=ask[name],
        figures=(Figure("accuracy", key, floor), *(Figure(kind, f"{key}/{kind}") for kind in ANSWERED)),
        beside=tuple(Figure(f"{one} only", key, of=ask[one]) for one in ONE_SIDED),
        others=tuple(alone.format(one=one) for one in ONE_SIDED),
    )


def then_answers(
    recipe: str,
    first: str,
    tuned: str,
    data: str = "shapes",
    then: str = "vqa",
    before: tuple[str, ...] = ("mmkit prep shapes shapes",),
) -> System:
    """A model that is pre-trained, and then answers questions about the 300 unseen scenes; beside it the same without, and one
    that sees the question alone.

    Args:
        first: how the first stage is trained.
        tuned: how the second stage is trained, the same with the first and without; then: its recipe.
    """
    train = f"mmkit train {data} --recipe {then} --set fusion.kind=merged {tuned}"
    ask = {one: f"mmkit eval vqa --data {data} --model runs/{recipe}-{one} --json" for one in ("vqa", "none", "blind")}
    return System(
        name=recipe,
        train=(
            f"mmkit train {data} --recipe {recipe} {first} --name {recipe}",
            f"{train} --init runs/{recipe} --name {recipe}-vqa",
        ),
        ask=ask["vqa"],
        figures=(Figure("answers right", "metrics.vqa_accuracy", 0.5),),
        beside=(
            Figure("without pre-training", "metrics.vqa_accuracy", of=ask["none"]),
            Figure("by the question alone", "metrics.vqa_accuracy", of=ask["blind"]),
        ),
        data=before,
        others=(
            f"{train} --name {recipe}-none",
            # a text encoder of blocks, also where the other is embeddings alone
            f"{train} --set loss.task.of=question --set encoder.text.layers=2 --name {recipe}-blind",
        ),
    )


def seeing(recipe: str, options: str) -> System:
    """A language model that sees, over the picture encoder of a run of `caption` and a language model of the captions:
    questions and captions of the 300 unseen scenes; beside it a model of the question alone, and the nearest picture's
    caption."""
    caption, answer = (f"mmkit eval {metric} --data shapes --model runs/{{}} --json" for metric in ("caption", "vqa"))
    return System(
        name=recipe,
        train=(
            "mmkit train shapes --recipe caption --steps 1600 --name eyes",
            "mmkit train shapes --init runs/eyes --recipe clip --lock-image --set encoder.text.causal=true "
            "--set encoder.text.pool=eos --set encoder.text.layers=2 --set loss.lm.kind=lm --set loss.lm.of=text "
            "--set data.text.context=32 --lr 1.5e-3 --batch-size 64 --steps 300 --name seen",
            f"mmkit train shapes --recipe {recipe} --init runs/seen {options} --name {recipe}",
        ),
        ask=answer.format(recipe),
        figures=(
            Figure("answers right", "metrics.vqa_accuracy", 0.5),
            Figure("captions that are true word for word", "metrics.exact_match", 0.7, caption.format(recipe)),
        ),
        beside=(
            Figure("question only", "metrics.vqa_accuracy", of=answer.format("question")),
            Figure("CIDEr of the nearest picture's", "nearest.CIDEr", of=caption.format(recipe)),
        ),
        others=("mmkit train shapes --recipe fusion-mid --set loss.task.of=question --steps 300 --name question",),
    )


RERANK = "mmkit eval recall@k --rerank 10 --data shapes --model runs/match --json"
WAYS = {"text_retrieval": "caption of a picture", "image_retrieval": "picture of a caption"}

SYSTEMS = (
    retrieval("clip", 0.85, "--steps 900"),
    retrieval("align", 0.85, "--steps 900"),
    retrieval("dual", 0.85, "--steps 900"),
    retrieval("siglip", 0.7, "--steps 3000"),
    retrieval("filip", 0.7, "--steps 600 --lr 3e-3"),
    answering("vqa", 0.75, "--steps 2500"),
    answering("vqa-hybrid", 0.75, "--set fusion.kind=hybrid --set fusion.attention=cross --steps 2500"),
    then_answers("flava", "--steps 600", "--steps 1000 --lr 1e-3"),
    then_answers(
        "uniter",
        "--steps 1200 --batch-size 64 --lr 1e-3",
        '--set \'fusion.inputs=["regions", "question"]\' --set fusion.layers=3 --set encoder.text.layers=0 --steps 900 --lr 1e-3',
        data="regions",
        then="fusion-mid",
        before=(
            "mmkit prep shapes shapes",
            "mmkit train shapes --image-encoder cnn --steps 300 --lr 2e-3 --name cnn",
            "mmkit prep regions regions --source shapes --encoder runs/cnn --grid 3",
        ),
    ),
    System(
        name="caption",
        train=("mmkit train shapes --recipe caption --steps 1600 --name caption",),
        ask="mmkit eval caption --data shapes --model runs/caption --json",
        figures=(Figure("captions that are true word for word", "metrics.exact_match", 0.8), Figure("CIDEr", "metrics.CIDEr")),
        beside=(Figure("CIDEr of the nearest picture's", "nearest.CIDEr"), Figure("of the most frequent", "chance.CIDEr")),
    ),
    System(
        name="match",
        train=("mmkit train shapes --recipe match --steps 1500 --name match",),
        ask=RERANK,
        figures=(
            *(Figure(f"R@1 {words}, 10 re-ranked", f"metrics.{key}_recall@1") for key, words in WAYS.items()),
            Figure(
                "pairs told from others",
                "metrics.match_accuracy",
                None,
                RERANK.replace("recall@k --rerank 10", "match"),
            ),
        ),
        beside=tuple(
            Figure(f"not re-ranked {words}", f"metrics.{key}_recall@1", None, RERANK.replace(" --rerank 10", ""))
            for key, words in WAYS.items()
        ),
    ),
    System(
        name="multitask",
        train=("mmkit train shapes --recipe multitask --steps 1400 --name multitask",),
        ask="mmkit eval vqa --data shapes --model runs/multitask --json",
        figures=(
            Figure("VQA accuracy", "metrics.vqa_accuracy"),
            *(
                Figure(words, f"metrics.{key}", None, f"mmkit eval {metric} --data shapes --model runs/multitask --json")
                for words, key, metric in (
                    ("pairs told from others", "match_accuracy", "match"),
                    ("CIDEr", "CIDEr", "caption"),
                    ("R@1 caption of a picture", "text_retrieval_recall@1", "recall@k"),
                )
            ),
        ),
        beside=(Figure("by type of question alone", "chance.vqa_accuracy"),),
    ),
    seeing("llava", "--steps 2000"),
    seeing("flamingo", "--steps 3500"),
)


@dataclass(frozen=True)
class Measured:
    """A system as it was measured: `values` of its figures and then of what stands beside."""

    system: System
    parameters: int
    seconds: float
    values: tuple[float, ...]

    def row(self) -> str:
        """Its line of the table."""
        one, figures = self.system, self.system.figures
        said = [f"{figure.words} {value:.3g}" for figure, value in zip(figures + one.beside, self.values, strict=True)]
        trained = "<br>".join(f"`{command}`" for command in one.train)
        measured, beside = ", ".join(said[: len(figures)]), ", ".join(said[len(figures) :])
        return f"| {one.name} | {trained} | {self.parameters:,} | {self.seconds:.0f} | {measured} | {beside} |"

    def below(self) -> list[str]:
        """The figures that do not reach their floor, a line each."""
        reached = zip(self.system.figures + self.system.beside, self.values, strict=True)
        return [
            f"{self.system.name}: {figure.words} is {value:.3f}, below {figure.floor:g}"
            for figure, value in reached
            if figure.floor is not None and not value >= figure.floor
        ]


def measure(system: System, folder: Path) -> Measured:
    """Run its commands in `folder`."""
    for command in system.data:
        run(command, folder)
    before = busy()
    for command in system.train:
        run(command, folder)
    seconds = busy() - before
    for command in system.others:
        run(command, folder)
    figures = system.figures + system.beside
    asked = {command: answer(command, folder) for command in dict.fromkeys([system.ask, *(f.of for f in figures if f.of)])}
    values = tuple(float(at(asked[figure.of or system.ask], figure.key)) for figure in figures)
    return Measured(system, int(at(asked[system.ask], "cost.parameters")), seconds, values)


def run(command: str, folder: Path) -> str:
    """What a command prints on stdout; what it says on stderr goes through.

    Raises:
        SystemExit: it failed.
    """
    print(f"$ {command}", file=sys.stderr, flush=True)
    words = shlex.split(command)
    words = [sys.executable, *(["-m", "mmkit"] if words[0] == "mmkit" else []), *words[1:]]
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(words, cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}: {command}")
    return done.stdout


def answer(command: str, folder: Path) -> dict[str, Any]:
    """The last JSON object that a command prints."""
    found: dict[str, Any] = json.loads(run(command, folder).splitlines()[-1])
    return found


def at(record: Any, key: str) -> Any:
    """A value of nested objects."""
    for part in key.split("."):
        record = record[part]
    return record


def with_rows(page: str, rows: dict[str, str], order: Sequence[str]) -> str:
    """A page with rows of its table, which stands between BEGIN and END, replaced or added.

    Args:
        rows: system -> its line.
        order: of all systems; a row of none of them goes.
    """
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{README} lacks the lines {BEGIN} and {END}")
    lines = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| system ")]
    found = {line.split("|")[1].strip(): line for line in lines} | rows
    return f"{before}{BEGIN}\n{HEAD}{''.join(found[name] + chr(10) for name in order if name in found)}{END}{after}"


def chosen(names: Iterable[str]) -> list[System]:
    """The systems of these names, in the order of SYSTEMS; all, where none is named."""
    names, known = list(names), {system.name: system for system in SYSTEMS}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no system {unknown[0]!r}; there are: {', '.join(known)}")
    return [system for system in SYSTEMS if not names or system.name in names]


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="NAME", help="the rows; all of them without one")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where a figure lies below its floor")
    parser.add_argument("--folder", type=Path, help="where to train; a temporary one by default")
    options = parser.parse_args(args)
    below = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        for system in chosen(options.systems):
            place = folder / system.name
            place.mkdir(parents=True, exist_ok=True)
            measured = measure(system, place)
            print(measured.row(), flush=True)
            below += measured.below()
            if not options.check:  # each as it is measured: a later one may fail
                order = [one.name for one in SYSTEMS]
                page = with_rows(README.read_text(encoding="utf-8"), {system.name: measured.row()}, order)
                README.write_text(page, encoding="utf-8")
    if below:
        print("\n".join(below), file=sys.stderr)
    if below and options.check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
