from __future__ import annotations

import pytest

from mmkit.tabular import markdown, short_name


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("text_retrieval_recall@10", "text R@10"),
        ("image-text/image_retrieval_median_rank", "image-text/image median rank"),
        ("text_retrieval rank", "text rank"),
        ("mean_per_class_recall", "mean per class recall"),
        ("memory_mib", "memory MiB"),
        ("ms_per_text", "ms per text"),
    ],
)
def test_short_names(metric, name):
    assert short_name(metric) == name


def test_a_bar_within_a_cell_is_no_border():
    assert markdown(["cell", "a|b"], [["x|y", "1"]]) == "| cell | a\\|b |\n| --- | ---: |\n| x\\|y | 1 |\n"
