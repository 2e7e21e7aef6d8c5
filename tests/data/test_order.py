"""The order of samples: complete, seeded, resumable, and with different captions in a batch."""

import itertools
from dataclasses import replace

from mmkit.data.order import WINDOW_BYTES, Order, Place, spread
from mmkit.data.shards import Group

GROUPS = [Group("train", f"{i // 5}.parquet", i % 5, 20 + i) for i in range(40)]
ROWS = sum(g.rows for g in GROUPS)


def take(order: Order, n: int, position: int = 0) -> list[list[Place]]:
    return list(itertools.islice(order.batches(position), n))


def test_an_epoch_shows_each_row_once():
    stream = [p for batch in take(Order(GROUPS, 0, 16), 2 * ROWS // 16 + 2) for p in batch]
    for epoch in (0, 1):
        places = stream[epoch * ROWS : (epoch + 1) * ROWS]
        assert {p.epoch for p in places} == {epoch}
        assert len({(p.group, p.row) for p in places}) == ROWS


def test_starting_at_a_position_continues_the_same_stream():
    order = Order(GROUPS, 7, 32, keys=lambda epoch, g: [hash((epoch, r)) % 50 for r in range(g.rows)])
    whole = take(order, 120)
    for position in (1, 13, 37, 77, 100):
        assert take(Order(GROUPS, 7, 32, order.keys), 5, position) == whole[position : position + 5]


def test_seed_and_epoch_change_the_order():
    assert take(Order(GROUPS, 0, 16), 3) == take(Order(GROUPS, 0, 16), 3)
    assert take(Order(GROUPS, 0, 16), 3) != take(Order(GROUPS, 1, 16), 3)
    first, second = ([(p.group, p.row) for b in take(Order(GROUPS[:1], 0, 20), 2)[i : i + 1] for p in b] for i in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


def test_row_groups_are_read_in_windows():
    places = [p for b in take(Order(GROUPS, 0, 4), ROWS // 4) for p in b]
    for start in range(0, len(places) - 300, 100):
        assert len({p.group for p in places[start : start + 100]}) <= 2 * 8


def test_a_window_of_large_pictures_is_bounded_by_bytes_not_by_the_batch():
    groups = [replace(g, bytes=32 << 20) for g in GROUPS]
    places = [p for b in take(Order(groups, 0, 256), ROWS // 256) for p in b]
    last_use = {p.group: i for i, p in enumerate(places)}
    first_use = {p.group: i for i, p in reversed(list(enumerate(places)))}
    assert max(sum(first_use[g] <= i <= last_use[g] for g in last_use) for i in range(len(places))) * (32 << 20) <= WINDOW_BYTES


def test_batches_hold_different_keys_where_possible():
    group = Group("train", "a", 0, 900)
    keys = [i % 300 for i in range(900)]
    for batch in take(Order([group], 0, 90, keys=lambda e, g: keys), 9):
        assert len({keys[p.row] for p in batch}) == 90


def test_spread_keeps_everything_where_it_is_impossible():
    places = [Place(0, GROUPS[0], i) for i in range(20)]
    out = spread([(1, p) for p in places], 5, 0)
    assert sorted(out) == sorted(places)


def test_a_batch_larger_than_what_is_left_runs_into_the_next_epoch():
    group = Group("train", "a", 0, 10)
    batches = take(Order([group], 0, 8), 5)
    assert [len(b) for b in batches] == [8] * 5
    assert {p.epoch for p in batches[1]} == {0, 1}


def test_a_batch_that_two_windows_share_holds_different_keys_too():
    keyed = [(i % 12, i) for i in range(48)]
    for offset in (0, 3, 7):
        places = spread(keyed, 8, offset)
        keys = [place % 12 for place in places]
        batches = [keys[: 8 - offset]] + [keys[i : i + 8] for i in range(8 - offset, 40, 8)]
        assert all(len(set(batch)) == len(batch) for batch in batches)
