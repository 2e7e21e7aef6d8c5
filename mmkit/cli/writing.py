"""What `mmkit caption` and `mmkit answer` share: who writes, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmkit.decoding import Example, Sampling, Written
    from mmkit.model import Model


class Scribe(NamedTuple):
    """A model that writes.

    Args:
        objective: its loss; beams, top, sampling, examples: see `mmkit.decoding.generate`.
    """

    model: Model
    objective: Any
    beams: int
    top: int
    sampling: Sampling | None
    examples: Sequence[Example]

    def write(self, path: str, question: str | None = None) -> list[Written]:
        """The best texts about a file, or answers to a question about it, best first.

        Raises:
            UserError: the file cannot be read.
        """
        from mmkit.decoding import generate
        from mmkit.metrics import heads, vqa

        item = heads.of_file(self.model, self.objective, path)
        how: dict[str, Any] = {"sampling": self.sampling, "examples": self.examples}
        if question is None:
            return generate(self.model, self.objective, [item], self.beams, self.top, **how)[0]
        return vqa.written(self.model, self.objective, [item], [question], self.beams, self.top, **how)[0]


def examples(model: Model, objective: Any, path: Path | None, shots: int, seed: int, asks: bool) -> list[Example]:
    """Those that `--shots` asks for, of captions or of what a model that `asks` is trained on.

    Raises:
        UserError: there are none, or the model takes none.
    """
    if not shots:
        if path is not None:
            raise UsageError("--data says where --shots examples come from", f"--data {path}", "--shots 4, or leave --data out")
        return []
    from mmkit.data.shards import open_dataset
    from mmkit.decoding import check_examples
    from mmkit.metrics import caption, vqa
    from mmkit.metrics import shots as taken

    check_examples(model, objective)
    data = open_dataset(path or Path("data"))
    column = vqa.column_of(objective, data) if asks else caption.column_of(model, objective, data)
    return taken.drawn(model, objective, data, column, shots, seed)
