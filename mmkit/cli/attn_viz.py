"""`mmkit attn-viz`: what a model looks at, in a picture, a sound, a video or a series, and in a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmkit.cli.console import console
from mmkit.cli.help import Page
from mmkit.cli.options import DATA, OUTPUT, DataOption, Debug, Device, Force, Json, Model, Quiet, Split
from mmkit.errors import UsageError

if TYPE_CHECKING:
    from mmkit.explain.attention import Explanation
    from mmkit.explain.faithfulness import Faithfulness
    from mmkit.model import Model as LoadedModel
    from mmkit.views.attention import Looked
    from mmkit.workflows.looking import Chosen

MAPS = "Maps"  # a heading of --help
ARRAYS = ".npz"
EPILOG = """\b
Examples:
  mmkit attn-viz cat.jpg "a black cat on a sofa"
  mmkit attn-viz cat.jpg "a black cat on a sofa" -o cat.html --model openai/clip-vit-base-patch32
  mmkit attn-viz cat.jpg --method attention --layer -1 --head 0 -o head.pdf
  mmkit attn-viz cat.jpg --each-head -o heads.png
  mmkit attn-viz cat.jpg "what colour is it?" --model runs/vqa-data-1 -o maps.npz
  mmkit attn-viz bark.wav "a dog barks" -o bark.png
  mmkit attn-viz clip.mp4 "a man runs" -o clip.html
  mmkit attn-viz room.jpg depth=depth.png -o room.png
  mmkit attn-viz said.wav face.mp4 "a good film" --of video --model runs/sentiment-data-1
  mmkit attn-viz --data ./data --id test-000003 --faithfulness --json
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=Page, epilog=EPILOG)
def attn_viz(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="A picture, a sound, a video, or a series (.npy .npz .csv .parquet), or INPUT=FILE; with --id left out.",
            show_default=False,
        ),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="A caption, a question, a classifier's class; none: what a captioner writes, or FILE alone. Also files of other "
            "inputs, with which FILE is compared or which the model reads beside it.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="This row of the dataset, with its first caption unless TEXT is given.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None,
    split: Split = None,
    of: Annotated[
        str | None,
        typer.Option(
            "--of",
            metavar="INPUT",
            help="What is looked at, where the model reads several.",
            show_default="what FILE is; pictures first",
            rich_help_panel=DATA,
        ),
    ] = None,
    model: Model = "runs/latest",
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="relevance: attention weighted by its gradient, through all layers (Chefer et al.). attention: what the pooled "
            "(class or end) token looks at in one layer. rollout: all layers multiplied. align: each word with each patch, of "
            "filip, cross and merged fusion. gradcam: of convolutional encoders.",
            show_default="relevance; rollout without TEXT; gradcam where there is no attention",
            rich_help_panel=MAPS,
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            metavar="N",
            help="Of attention and align: from 0, negative from the end.",
            show_default="the last",
            rich_help_panel=MAPS,
        ),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option(
            "--head", metavar="N", help="One head instead of their mean.", show_default="the mean", rich_help_panel=MAPS
        ),
    ] = None,
    each_head: Annotated[
        bool,
        typer.Option("--each-head", help="A figure of every layer and head, side by side.", rich_help_panel=MAPS),
    ] = False,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Measure it: how the score falls as the weightiest parts go, and rises as they come, beside random orders.",
            rich_help_panel=MAPS,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="A figure (.png .svg .pdf), a page whose words light their own parts (.html), or the raw maps (.npz).",
            show_default="the terminal",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What a model looks at: the patches of a picture, stretches of a sound's spectrogram or of a series, patches of a video's
    frames, and the words of a text, that its score or answer comes from.

    Takes models that compare (the score is their cosine), answer questions, classify (the score is the logit of the answer or
    class), predict a number (the score is that number), and write captions (the mean log-probability of the tokens of TEXT, or of
    what they write). Of a row all is shown to a model that reads several inputs, and the map is drawn over one of them. Maps are
    drawn over what was given; what a model's crop leaves out is blank. Within a token of a sound or series weights lie where
    gradient times value is positive; within a frame of a video as within a picture.
    Prints a drawing of it, its map and the words in a terminal, and one JSON object elsewhere.
    """
    from mmkit.explain.attention import explain
    from mmkit.loading import load_model

    if out and str(out) != "-":
        _check_target(out, force)
    _check_heads(each_head, method, layer, head, out)
    if data and not id:
        raise UsageError("which row of the dataset?", str(data), "--id ID")
    typed = _words_typed(file, words or [], id)
    from mmkit.cli.queries import parse_file, sorted_out

    first = None if id else parse_file(typed[0])
    loaded = load_model(model, device, console.say)
    from mmkit.workflows import looking

    if first is None:
        chosen = looking.of_row(loaded, data or Path("data"), split, str(id), next(iter(typed), None), of)
    else:
        files, texts = sorted_out(loaded, first, typed[1:])
        if len(texts) > 1:
            raise UsageError("one text at a time", ", ".join(texts))
        chosen = looking.of_files(loaded, files, next(iter(texts), None), of)
    drawn = bool(out) and str(out) != "-"
    each_word = drawn and not each_head and str(out).endswith((".html", ARRAYS))
    found = explain(
        loaded, chosen.item, chosen.text, method, layer, head, each_word, each_head, looked=chosen.looked, beside=chosen.beside
    )
    if faithfulness and found.kind == "norm":
        raise UsageError(f"--faithfulness follows a score, and a {found.looked} alone has none", chosen.name, "name a TEXT")
    for note in found.notes:
        console.say(note)
    measured = _measure(loaded, chosen, found) if faithfulness else None
    if drawn and out:
        from mmkit.files import make_way

        make_way(out, force)
        _write(loaded, chosen, found, out)
        console.say(f"wrote {out}")
    _print(loaded, chosen, found, measured, out)


def _words_typed(file: str | None, words: list[str], id: str | None) -> list[str]:
    """FILE and what is typed behind it; with --id, a text or nothing."""
    usage = 'mmkit attn-viz cat.jpg "a black cat"'
    if id and words:
        raise UsageError("--id names what is looked at, and FILE another", file or "", "leave one of them out")
    if not id and file is None:
        raise UsageError("which file?", hint=f"{usage}, or --data DATA --id ID")
    typed = [word for word in (file, *words) if word is not None]
    if not all(word.strip() for word in typed[not id :]):
        raise UsageError("the text is empty", hint=usage)
    return typed


def _check_heads(each_head: bool, method: str | None, layer: int | None, head: int | None, out: Path | None) -> None:
    """Every head is a figure of its own, and of no other method."""
    if not each_head:
        return
    if layer is not None or head is not None or method not in (None, "attention"):
        raise UsageError("--each-head shows the attention of all layers and heads", hint="leave --method, --layer and --head out")
    if out is None or str(out) == "-" or out.suffix.lower() == ARRAYS:
        raise UsageError("--each-head draws a figure", hint="-o heads.png; the arrays of all heads are in every -o maps.npz")


def _check_target(out: Path, force: bool) -> None:
    from mmkit.files import check_output
    from mmkit.views.style import FORMATS, check_suffix
    from mmkit.views.target import check_target

    if check_suffix(out, (*FORMATS, ARRAYS)) == ARRAYS:
        check_output(out, _is_maps, force)
    else:
        check_target(out, FORMATS, force)


def _is_maps(path: Path) -> bool:
    """Whether a file holds the arrays of this command."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as pack:
            return {"tokens.npy", "patches.npy", "text_layers.npy", "fusion_layers.npy"} <= set(pack.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _measure(model: LoadedModel, chosen: Chosen, found: Explanation) -> Faithfulness:
    from mmkit.explain.faithfulness import faithfulness

    return faithfulness(chosen.asked(model), found.grid)


def _write(model: LoadedModel, chosen: Chosen, found: Explanation, out: Path) -> None:
    if out.suffix.lower() == ARRAYS:
        import numpy

        from mmkit.files import writing

        with writing(out) as temporary, open(temporary, "wb") as f:
            numpy.savez_compressed(f, **_arrays(_modality(model, found), found))  # type: ignore[arg-type]
        return
    looked = _looked(chosen, found)
    if found.heads.size:
        from mmkit.views.attention_heads import heads
        from mmkit.views.style import save

        save(heads(found.canvas, found.heads, looked.title), out, looked.title)
        return
    if out.suffix.lower() == ".html":
        from mmkit.views.attention_page import save_page

        save_page(looked, [word.grid for word in found.words], out, found.notes)
        return
    from mmkit.views.attention import attention
    from mmkit.views.fonts import lacking
    from mmkit.views.style import save

    for line in lacking([chosen.text or ""]):
        console.say(line)
    save(attention(looked), out, looked.title)


def _modality(model: LoadedModel, found: Explanation) -> str:
    return str(model.inputs[found.looked].modality)


def _arrays(modality: str, found: Explanation) -> dict[str, Any]:
    """The raw maps by their names in the .npz file."""
    import numpy

    grids = [word.grid for word in found.words if word.grid is not None]
    return {
        modality: found.spread(),
        "text": found.text,
        "tokens": numpy.array(found.tokens, dtype=numpy.str_),
        f"{modality}_layers": found.layers,
        "text_layers": found.text_layers,
        # beside the contract: what frames, columns and rows are, the patches as they are, the words that tokens were joined into,
        # a fusion's attention
        **found.canvas.measures(),
        "patches": found.grid,
        "words": numpy.array([word.text for word in found.words], dtype=numpy.str_),
        "word_weights": numpy.array([word.weight for word in found.words], numpy.float32),
        "word_patches": numpy.stack(grids) if grids else numpy.empty((0, *found.grid.shape), numpy.float32),
        "fusion_layers": found.fusion_layers,
    }


def _looked(chosen: Chosen, found: Explanation) -> Looked:
    from mmkit.views.attention import Looked

    title = Path(chosen.name).name + (f": {found.answer}" if found.answer is not None else "")
    which = "".join(f", {what} {n}" for what, n in (("layer", found.layer), ("head", found.head)) if n is not None)
    score = f", {found.kind} {found.score:.3f}" if found.kind != "norm" else ""
    words = [(word.text, word.weight) for word in found.words]
    return Looked(found.canvas, found.grid, words, title, found.method + which + score)


def _print(model: LoadedModel, chosen: Chosen, found: Explanation, measured: Faithfulness | None, out: Path | None) -> None:
    import dataclasses
    import sys

    if console.as_json or str(out) == "-" or (console.json and not out) or (console.json and measured):
        record: dict[str, Any] = {_modality(model, found): chosen.name, "text": chosen.text, "method": found.method}
        record |= {"score": found.score if found.kind != "norm" else None, "kind": found.kind, "answer": found.answer}
        record |= {"words": [{"word": word.text, "weight": word.weight} for word in found.words], "peak": found.peak()}
        record |= {
            "patches": found.grid.tolist(),
            "shown": list(found.canvas.box),
            "size": list(found.canvas.size),
            "notes": list(found.notes),
        }
        record |= {"faithfulness": dataclasses.asdict(measured)} if measured else {}
        console.record(record | {"out": str(out) if out and str(out) != "-" else None})
        return
    if not out:
        from rich.console import Console as Rich

        from mmkit.views.attention_text import print_looked

        print_looked(_looked(chosen, found), Rich(file=sys.stdout))
    if measured:
        rows = [
            ["deletion", f"{measured.deletion:.3f}", f"{measured.random_deletion:.3f}", "lower"],
            ["insertion", f"{measured.insertion:.3f}", f"{measured.random_insertion:.3f}", "higher"],
        ]
        title = f"area under the score ({measured.whole:.3f} whole, {measured.empty:.3f} empty)"
        console.table(title, ["parts by weight", "this map", "random map", "better"], rows, to_stdout=True)
