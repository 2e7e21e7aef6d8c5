"""What `mmkit caption` and `mmkit answer` share: who writes, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmkit.decoding import Example, Sampling, Written
    from mmkit.given import File
    from mmkit.model import Model


@dataclass(frozen=True)
class Scribe:
    """A model that writes.

    Args:
        objective: its loss; beams, top, sampling, examples: see `mmkit.decoding.generate`.
        noted: what was said of inputs that are missing, which is not said again.
    """

    model: Model
    objective: Any
    beams: int
    top: int
    sampling: Sampling | None
    examples: Sequence[Example]
    noted: set[str] = field(default_factory=set)

    def items(self, files: Sequence[File]) -> dict[str, Any]:
        """The inputs that files hold, prepared; what the model reads beside them and words is said.

        Raises:
            UserError: a file cannot be read.
        """
        from mmkit.cli.console import console
        from mmkit.metrics import heads

        found = heads.of_files(self.model, self.objective, files)
        words = [name for name in self.model.inputs if self.model.config.is_language(name)]
        note = heads.lacking(self.model, self.objective, [*found, *words], "what is said is that")
        if note and note not in self.noted:
            self.noted.add(note)
            console.say(note)
        return found

    def write(self, files: Sequence[File], question: str | None = None) -> list[Written]:
        """The best texts about files of as many inputs, or answers to a question about them, best first.

        Raises:
            UserError: a file cannot be read.
        """
        from mmkit.decoding import generate
        from mmkit.metrics import vqa

        item = self.items(files)
        how: dict[str, Any] = {"sampling": self.sampling, "examples": self.examples}
        if question is None:
            return generate(self.model, self.objective, [item], self.beams, self.top, **how)[0]
        return vqa.written(self.model, self.objective, [item], [question], self.beams, self.top, **how)[0]

    def named(self, files: Sequence[File]) -> dict[str, str]:
        """What a record says of them; see `mmkit.given.said_of`."""
        from mmkit.given import said_of
        from mmkit.metrics import heads

        return said_of(self.model, heads.read_by(self.model, self.objective), files)


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
