from __future__ import annotations

import csv
import io
import json

import pytest

from mmkit.cli import eval_table
from mmkit.cli.eval_table import escaped, figure, is_ours, lines_of, one, rendered, several


def record(model, task="zeroshot_retrieval", split="test", n=None, **metrics):
    names = {
        name.replace("R1", "image_retrieval_recall@1").replace("MR", "image_retrieval_median_rank"): value
        for name, value in metrics.items()
    }
    return {
        "model": model,
        "dataset": "data",
        "split": split,
        "task": task,
        "n": n or {"image": 1000, "text": 5000},
        "metrics": names,
        "chance": {name: 0.001 for name in names},
        "interval": {name: [value - 0.03, value + 0.03] for name, value in names.items()},
    }


def cost(model, parameters, ms):
    found = record(model, "cost", n={"image": 64}, parameters=parameters, ms_per_image=ms)
    return found | {"chance": {}, "interval": {}, "parts": {"encoder.image": parameters - 1, "loss.itc": 1}}


TWO = [
    record("runs/a", R1=0.31, MR=4.0),
    cost("runs/a", 500, 1.9),
    record("runs/b_2", R1=0.28, MR=3.0),
    cost("runs/b_2", 400, 1.1),
]


def test_results_of_one_model_and_split_are_one_line():
    lines = lines_of([*TWO, record("runs/a", split="val", R1=0.5)])
    assert [(line.model, line.split, len(line.metrics)) for line in lines] == [
        ("runs/a", "test", 4),
        ("runs/b_2", "test", 4),
        ("runs/a", "val", 1),
    ]
    assert lines[0].n == {"image": 1000, "text": 5000}, "a batch that was timed says nothing of the split"


def test_what_is_measured_twice_is_two_lines_that_say_of_what():
    pairs = [record("runs/a", n={name: 9, "text": 9}, text_retrieval=0.1) for name in ("image", "series")]
    _, _, rows, _ = several(lines_of(pairs), 200)
    assert [row[0] for row in rows] == ["runs/a (image text)", "runs/a (series text)", "chance"]
    tasks = [record("runs/a", task, n={"image": 9}, acc1=0.1) for task in ("classification", "zeroshot_classification")]
    _, _, rows, _ = several(lines_of(tasks), 200)
    assert [row[0] for row in rows] == ["runs/a (classification)", "runs/a (zeroshot_classification)", "chance"]

    both = [record("a", "x", n={"image": 9}, acc1=0.1), record("a", "y", n={"image": 9}, acc1=0.1), record("a", "x", acc1=0.1)]
    _, _, rows, _ = several(lines_of(both), 200)
    assert [row[0] for row in rows[:3]] == ["a (x image)", "a (y image)", "a (x image text)"]
    _, _, rows, _ = several(lines_of([both[0], both[0]]), 200)
    assert [row[0] for row in rows[:2]] == ["a (x image) 1", "a (x image) 2"], "one model that was named twice"


def pair(model, first, second, value, **more):
    metrics = {f"{name}_retrieval_recall@1": value for name in (first, second)}
    return record(model, n={first: 9, second: 8}, **metrics) | more


PAIRS = [("image", "audio"), ("series", "video"), ("image", "text")]
MANY = [pair(model, *names, value + i / 10) for model, value in (("a", 0.1), ("b", 0.2)) for i, names in enumerate(PAIRS)]


def test_no_row_is_of_two_pairs_of_inputs():
    """They have no metric in common."""
    classes = [record(model, "zeroshot_classification", n={"image": 9}, acc1=0.5) for model in ("a", "b")]
    title, columns, rows, _ = several(lines_of([*MANY, *classes]), 300)
    assert title == "data test: 9 images, 8 audios, 9 series, 8 videos, 8 texts"
    audio, series, acc1 = (columns.index(name) for name in ("audio R@1", "series R@1", "acc1"))
    assert [row[0] for row in rows[:3]] == ["a (image audio)", "a (series video)", "a (image text)"]
    assert rows[0][audio].startswith("0.100 ") and not rows[0][series] and not rows[0][acc1]
    assert {row[0]: row[acc1][:5] for row in rows if row[acc1]} == {"a (image)": "0.500", "b (image)": "0.500", "chance": "0.001"}
    text = rendered(MANY, "md")
    assert text.count("**") == 2 * 2 * 3, "the best is that of the same pair"
    (first, *_) = csv.DictReader(io.StringIO(rendered(MANY, "csv")))
    assert (first["n_image"], first["n_audio"], first["n_series"]) == ("9", "8", "")


def test_a_model_that_is_a_column_has_all_pairs_and_its_metrics_say_of_which():
    lines = lines_of([*MANY, record("b", "zeroshot_classification", n={"image": 9}, acc1=0.5)])
    _, columns, rows, _ = several(lines, 90)
    assert columns == ["metric", "a", "b", "chance"]
    names = [f"{'-'.join(names)}/{name} R@1" for names in PAIRS for name in names]
    assert [row[0] for row in rows] == [*names, "acc1"]
    assert [row[1][:5] for row in rows] == ["0.100"] * 2 + ["0.200"] * 2 + ["0.300"] * 2 + [""]


def test_models_of_two_inputs_say_which_where_these_differ():
    records = [pair("a", "image", "text", 0.1), pair("b", "audio", "text", 0.2, chance={"text_retrieval_recall@1": 0.25})]
    _, columns, rows, _ = several(lines_of(records), 200)
    assert [row[0] for row in rows] == ["a (image text)", "b (audio text)", "chance"]
    assert rows[-1][columns.index("text R@1")] == "0.001 to 0.250"
    assert "**" not in rendered(records, "md")
    _, _, rows, _ = several(lines_of(records), 40)
    assert [row[0] for row in rows][:2] == ["image-text/image R@1", "image-text/text R@1"]


def test_one_result_with_intervals_chance_and_parts():
    title, columns, rows, _ = one(lines_of(TWO[:2])[0])
    assert title == "runs/a on data test: 1,000 images, 5,000 texts"
    assert columns == ["metric", "value", "95 % interval", "chance"]
    assert rows[0] == ["image_retrieval_recall@1", "0.310", "0.280 to 0.340", "0.001"]
    assert rows[2:5] == [["parameters", "500", "", ""], ["  encoder.image", "499", "", ""], ["  loss.itc", "1", "", ""]]


def test_several_are_turned_where_they_are_too_wide():
    lines = lines_of(TWO)
    _, columns, rows, notes = several(lines, 200)
    assert columns == ["model", "image R@1", "image median rank", "parameters", "ms per image"]
    assert rows[0] == ["runs/a", "0.310 [0.280, 0.340]", "4.0 [3.97, 4.03]", "500", "1.9"]
    assert notes == ["in brackets: the 95 % interval"]
    _, columns, rows, _ = several(lines, 70)
    assert columns == ["metric", "runs/a", "runs/b_2", "chance"]
    assert rows[0] == ["image R@1", "0.310 [0.280, 0.340]", "0.280 [0.250, 0.310]", "0.001"]


def test_markdown_with_the_best_in_bold():
    text = rendered([*TWO, record("a|b", R1=0.1)], "md")
    assert text == (
        "<!-- mmkit eval -->\n"
        "| model | image R@1 | image median rank | parameters | ms per image |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| runs/a | **0.310 [0.280, 0.340]** | 4.0 [3.97, 4.03] | 500 | 1.9 |\n"
        "| runs/b_2 | 0.280 [0.250, 0.310] | **3.0 [2.97, 3.03]** | **400** | **1.1** |\n"
        "| a\\|b | 0.100 [0.070, 0.130] |  |  |  |\n"
        "| chance | 0.001 | 0.001 |  |  |\n"
    )


def test_latex():
    lines = rendered(TWO, "latex").splitlines()
    assert lines[1:3] == [r"\begin{tabular}{lrrrr}", r"\toprule"]
    assert lines[5] == r"runs/a & \textbf{0.310 [0.280, 0.340]} & 4.0 [3.97, 4.03] & 500 & 1.9 \\"
    assert lines[6].startswith(r"runs/b\_2 & 0.280")
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert escaped("a_b & 50% $x {y} ~^#\\") == (r"a\_b \& 50\% \$x \{y\} \textasciitilde{}\textasciicircum{}\#\textbackslash{}")


def test_csv_has_every_digit_and_the_ends():
    first, second = csv.DictReader(io.StringIO(rendered([record("a, b", R1=0.123456789), record("c", MR=2.0)], "csv")))
    assert (first["model"], first["task"], first["n_text"]) == ("a, b", "zeroshot_retrieval", "5000")
    assert float(first["image_retrieval_recall@1"]) == 0.123456789
    assert float(first["image_retrieval_recall@1_low"]) == 0.123456789 - 0.03
    assert first["image_retrieval_median_rank"] == ""
    assert float(second["image_retrieval_median_rank_chance"]) == 0.001


@pytest.mark.parametrize("form", ["md", "csv", "latex"])
def test_a_table_knows_itself(form):
    assert is_ours(rendered(TWO, form))
    assert not is_ours("| model | acc1 |")
    assert not is_ours(json.dumps(TWO))


def test_nothing_best_where_all_are_alike_or_one_is_alone():
    assert "**" not in rendered([record("a", R1=0.3), record("b", R1=0.3)], "md")
    assert "**" not in rendered([record("a", R1=0.3)], "md")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.31, "0.310"),
        (0, "0"),
        (0.0, "0.000"),
        (4.5e-4, "4.5e-04"),
        (1.0, "1.000"),
        (4.0, "4.0"),
        (1.94, "1.94"),
        (88.25, "88.2"),
        (501137, "501,137"),
    ],
)
def test_figures(value, text):
    assert figure(value) == text


def test_what_is_said_below():
    prompt = {"from": "openai", "templates": ["a {c}", "the {c}"], "classes_from": "column label"}
    counts = {"classes": 2, "labels_outside_classes": 3}
    found = record("a", "zeroshot_classification", acc1=0.3) | {"prompt": prompt, "majority": {"acc1": 0.7}, "counts": counts}
    said = [
        "always the most frequent class: acc1 0.700",
        "3 labels are none of the 2 classes and count as wrong",
        "prompts: 'a {c}' and 1 more, from openai; classes from column label",
    ]
    assert one(lines_of([found])[0])[3] == said
    assert several(lines_of([found, found | {"model": "b"}]), 100)[3] == [*said, "in brackets: the 95 % interval"]


def test_shown_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    eval_table.show(TWO)
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "runs/b_2" in shown.out
    assert shown.err == "in brackets: the 95 % interval\n"
