"""`mmkit generate`: pictures of a text, by a model that was trained to foretell their codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import MODEL, OUTPUT, SEED_MOST, BatchSize, Debug, Device, Force, Json, Quiet
from mmkit.errors import UsageError, UserError

if TYPE_CHECKING:
    from mmkit.model import Model

SAMPLES = "Samples"  # a heading of --help
EPILOG = """\b
Examples:
  mmkit generate "a large red circle at the top left" --model runs/dalle
  mmkit generate "a blue square" --n 16 --rerank runs/clip -o sheet.png
  echo "a blue square" | mmkit generate - --n 4 -o squares
  mmkit generate "a white cross" --n 64 --temperature 0.8 --top-p 0.9 -o crosses
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def generate(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the pictures show, or - for a line on stdin.")],
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="Pictures that are drawn.", rich_help_panel=SAMPLES)] = 16,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, max=SEED_MOST, help="Of what is drawn.", rich_help_panel=SAMPLES)
    ] = 0,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", metavar="T", min=0.0, help="Below 1 likelier, 0 the likeliest alone.", rich_help_panel=SAMPLES
        ),
    ] = 1.0,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p", metavar="P", min=0.0, max=1.0, help="Draw of the likeliest codes that reach P.", rich_help_panel=SAMPLES
        ),
    ] = 1.0,
    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank",
            metavar="RUN|CHECKPOINT",
            help="A model of texts and images that puts them in order, the most alike first.",
            show_default="by their own probability",
            rich_help_panel=SAMPLES,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE|FOLDER", help="A sheet: .png .jpg .pdf; or a folder.", rich_help_panel=OUTPUT),
    ] = Path("generated.png"),
    force: Force = False,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="RUN", help="A run of recipe dalle.", rich_help_panel=MODEL)
    ] = "runs/latest",
    device: Device = "auto",
    batch_size: BatchSize = 64,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw pictures of a text, on one sheet or as files of a folder, the best first.

    Prints a table in a terminal and one JSON object a picture elsewhere: text, rank, score, seed, path. The path is that of
    the sheet, or of the picture in the folder; the score is the cosine of --rerank, else the mean log-probability of the codes.
    """
    from mmkit.embedding import cut_off
    from mmkit.loading import load_model
    from mmkit.sampling import sample

    text = _asked(text)
    _check(out, force)
    loaded = load_model(model, device, console.say)
    objective = _prior(loaded)
    if said := cut_off(loaded, [text], objective.text):
        console.warn(said)
    judge = _judge(rerank, device) if rerank else None
    pixels, scores = sample(loaded, objective, text, n, seed, temperature, top_p, batch_size)
    pictures, ranked = _pictures(pixels), scores.tolist()
    if judge is not None:
        ranked = _alike(judge, text, pictures)
    order = sorted(range(n), key=lambda i: -ranked[i])
    paths = _write([pictures[i] for i in order], [ranked[i] for i in order], text, out, force)
    records = [
        {"text": text, "rank": rank, "score": round(ranked[i], 6), "seed": seed, "path": str(path)}
        for rank, (i, path) in enumerate(zip(order, paths, strict=True), 1)
    ]
    if console.json:
        for record in records:
            console.record(record)
        return
    rows = [[str(one["rank"]), f"{one['score']:.3f}", str(one["path"])] for one in records]
    console.table(text, ["rank", "score", "path"], rows, to_stdout=True)


def _asked(text: str) -> str:
    """The text, which is that on stdin for `-`.

    Raises:
        UsageError: it is empty, or stdin has several lines.
    """
    import sys

    lines = [line.strip() for line in sys.stdin if line.strip()] if text == "-" else [text.strip()]
    if len(lines) > 1:
        raise UsageError(f"- reads one text from stdin, not {len(lines)}", hint="call it once for each, with an --out of its own")
    if not lines or not lines[0]:
        raise UsageError("the text is empty", hint='mmkit generate "a red circle"')
    return lines[0]


def _judge(name: str, device: str) -> Model:
    """The model of --rerank.

    Raises:
        UserError: it does not compare texts and pictures by one vector each.
    """
    from mmkit.embedding import language_of, require_input
    from mmkit.loading import load_model

    model = load_model(name, device, console.say)
    require_input(model, _pictured(model))
    language_of(model)
    if model.tokenwise:
        raise UserError("--rerank takes a model of one vector an item", model.name, "mmkit train --recipe clip   trains one")
    return model


def _pictured(model: Model) -> str:
    """The input of pictures of a model that compares."""
    return next((one for one in model.embedded if model.inputs[one].modality == "image"), "image")


def _prior(model: Model) -> Any:
    """The loss that foretells codes.

    Raises:
        UserError: the model has none.
    """
    from mmkit.sampling import prior_of

    found = prior_of(model)
    if found is None:
        losses = ", ".join(table["kind"] for table in model.config.loss.values())
        hint = f"mmkit train --recipe dalle --init RUN   trains one that does, over a run of --recipe dvae; its losses: {losses}"
        raise UserError("the model was not trained to make pictures", model.name, hint)
    return found


def _alike(model: Model, text: str, pictures: list[Any]) -> list[float]:
    """The cosine of a text and each of some pictures."""
    import io

    from mmkit.embedding import embed_texts
    from mmkit.encode import vectors

    name, items = _pictured(model), []
    for picture in pictures:
        picture.save(stored := io.BytesIO(), "PNG")
        items.append(model.reader(name).prepare({"bytes": stored.getvalue(), "path": None}))
    found = vectors(model, name, items) @ embed_texts(model, [text])[0]  # type: ignore[operator]
    return [float(score) for score in found]


def _check(out: Path, force: bool) -> None:
    """Refuse a place that cannot be written to, before anything is computed."""
    if out.suffix:
        from mmkit.views.sheet import check_target

        if out.suffix.lower() == ".html":
            raise UsageError("a sheet of pictures is no page", str(out), "-o sheet.png, .jpg or .pdf, or a folder")
        check_target(out, force)
    else:
        from mmkit.files import check_folder

        check_folder(out, force)


def _pictures(pixels: Any) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in pixels]


def _write(pictures: list[Any], scores: list[float], text: str, out: Path, force: bool) -> list[Path]:
    """Write pictures, best first; where each of them is."""
    from mmkit.files import make_way, writing_folder

    if out.suffix:
        from mmkit.views.sheet import contact_sheet, save_sheet

        make_way(out, force)
        save_sheet(contact_sheet(pictures, [f"{score:.3f}" for score in scores], title=text), out)
        return [out] * len(pictures)
    width = len(str(len(pictures)))
    names = [f"{rank:0{width}d}.png" for rank in range(1, len(pictures) + 1)]
    with writing_folder(out, force) as beside:
        for name, picture in zip(names, pictures, strict=True):
            picture.save(beside / name)
    return [out / name for name in names]
