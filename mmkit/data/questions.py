"""Questions of a stranger's table about what its rows show, and their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmkit.data.cells import is_missing, text_of, texts_of
from mmkit.data.naming import Rows, base, filled, plain, value_of
from mmkit.data.tables import Table
from mmkit.errors import UserError

# what a column may be typed to be, and whether several may be it together
ROLES = {"question": False, "answer": True}
# how columns are called: of the questions, of what a chosen or first answer is, and of ids and types
QUESTION, ANSWER, CHOSEN = ("question", "question_text"), "answer", "multiple_choice_answer"
ID, TYPE = ("question_id", "qid"), ("answer_type", "question_type")


@dataclass(frozen=True, slots=True)
class Asked:
    """The columns of a table that hold a question a row.

    Args:
        answers: one, or several such as answer_0, answer_1 …
        id, kind: of the question.
    """

    question: str
    answers: tuple[str, ...]
    id: str | None
    kind: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in (self.question, *self.answers, self.id, self.kind) if name is not None)

    @property
    def note(self) -> str:
        """What is taken, for the user."""
        answers = ", ".join(map(repr, self.answers))
        return f"question column {self.question!r}, answer column{'s' if len(self.answers) > 1 else ''} {answers}"

    def of(self, row: dict[str, Any], id: str) -> list[dict[str, Any]] | None:
        """The question of a row as a dataset has it; None where it is blank.

        Args:
            id: of the question, where the table has none.
        """
        question = text_of(value_of(row, self.question)).strip()
        if is_missing(question):
            return None
        own = text_of(value_of(row, self.id)).strip()
        kind = text_of(value_of(row, self.kind)).strip()
        return [{"id": own or id, "question": question, "answers": list(self._answers(row)), "type": kind or None}]

    def _answers(self, row: dict[str, Any]) -> Iterator[str]:
        for name in self.answers:
            cell = value_of(row, name)
            items = cell if isinstance(cell, list) else [cell]
            # objects as VQA has them: {"answer": "yes", "answer_id": 1}
            texts = [item.get("answer") if isinstance(item, dict) else item for item in items]
            yield from (text.strip() for item in texts for text in texts_of(item) if not is_missing(text))


def is_of_questions(name: str) -> bool:
    """A column is called like one of questions or answers."""
    return base(name) in (*QUESTION, ANSWER) or plain(name) == CHOSEN


def find_asked(table: Table, sample: Rows, named: Mapping[str, Sequence[str]], taken: set[str]) -> Asked | None:
    """The columns of questions and answers, as typed, else by their names; None where one of the two is not there.

    Raises:
        UserError: only one of the two is typed, and the other is not found.
    """
    free = [name for name in table.columns if name not in taken]
    found = [name for name in free if base(name) in QUESTION and filled(sample, name)]
    question = next(iter(named.get("question") or found), None)
    answers = tuple(named.get("answer") or (name for name in free if base(name) == ANSWER))
    answers = answers or tuple(name for name in free if plain(name) == CHOSEN)
    for role, other, there in (("question", "answer", answers), ("answer", "question", question)):
        if role in named and not there:
            what = f"a {role} column and no {other} column"
            raise UserError(what, str(table.path), f"name it with --column {other}=NAME; columns: {', '.join(free[:24])}")
    if not question or not any(row.get(name) not in (None, "", []) for row in sample for name in answers):
        return None
    id, kind = (next((name for name in free if plain(name) in names), None) for names in (ID, TYPE))
    return Asked(question, answers, id, kind)
