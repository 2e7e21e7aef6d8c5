"""What is said of a map where there is nothing to compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmkit.vectors import read_embeddings
from mmkit.vectors_writer import EmbeddingsWriter
from mmkit.workflows import maps
from mmkit.workflows.inside import shown_map


@pytest.mark.parametrize(
    ("texts", "fact", "sentence"),
    [
        (["a"], "cosine of image and text of one id 0.60", "have a cosine of 0.60 on average. The mean"),
        (["b"], None, "The mean image and the mean text"),
        (
            ["a", "b"],
            "cosine of image and text of one id 0.60, of others 0.80",
            "others 0.80. The mean",
        ),
    ],
)
def test_a_mean_of_none_is_left_out(tmp_path: Path, texts: list[str], fact: str | None, sentence: str) -> None:
    with EmbeddingsWriter(tmp_path / "e.arrow", 2) as writer:
        writer.write(["a"], "image", np.array([[1.0, 0.0]]))
        writer.write(texts, "text", np.array([[0.6, 0.8], [0.8, 0.6]])[: len(texts)])
    found = read_embeddings(tmp_path / "e.arrow")
    assert [line for line in maps.make(found, "pca").facts() if "cosine" in line] == ([fact] if fact else [])
    words = " ".join(shown_map(found).words)
    assert sentence in words
    assert ("belong together have" in words) == (fact is not None)
