"""Work in threads comes back in order."""

from __future__ import annotations

from collections.abc import Iterator

from mmkit.data.threads import in_order


def test_in_order_keeps_the_order_and_holds_little() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    results = in_order(lambda i: i * i, numbers(), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(taken) <= 3 + 4 * 2 + 1
    assert list(results) == [i * i for i in range(3, 100)]
