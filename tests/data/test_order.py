"""The order of samples: complete, seeded, resumable, and with different captions in a batch."""

import itertools
from dataclasses import replace

import pytest

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
    assert sorted(spread([1] * 20, 5, 0, 0.3)) == list(range(20))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.7])
def test_a_frequent_caption_is_spread_evenly_over_the_epoch(share):
    """Each batch, and each rank's slice of it, holds its share of the frequent caption: the last as the first."""
    group, rows = Group("train", "a", 0, 3200), 3200
    keys = [0 if i < share * rows else i for i in range(rows)]
    batches = take(Order([group], 0, 32, lambda e, g: keys), 100)
    assert sorted(p.row for batch in batches for p in batch) == list(range(rows))
    held = [[keys[p.row] == 0 for p in batch] for batch in batches]
    assert {sum(batch) for batch in held} <= {int(share * 32), int(share * 32) + 1}
    for world in (2, 4, 8):
        of_ranks = [sum(batch[r * 32 // world : (r + 1) * 32 // world]) for batch in held for r in range(world)]
        assert max(abs(n - share * 32 / world) for n in of_ranks) < 2


@pytest.mark.parametrize("repeats", [2, 5, 10, 40])
def test_a_caption_rarer_than_batches_comes_at_even_distances(repeats):
    group, rows = Group("train", "a", 0, 3200), 3200
    keys = [0 if i < repeats else i for i in range(rows)]
    for seed in range(5):
        batches = take(Order([group], seed, 32, lambda e, g: keys), 100)
        held = [n for n, batch in enumerate(batches) for p in batch if keys[p.row] == 0]
        assert len(set(held)) == repeats
        gaps = [b - a for a, b in itertools.pairwise([*held, held[0] + 100])]
        assert max(gaps) <= 2.7 * 100 / repeats


def test_captions_of_few_kinds_are_mixed_alike_in_every_batch():
    """1,600 pictures of 8 classes, `a photo of {label}`, not all equally many."""
    group = Group("train", "a", 0, 1600)
    kinds = [min(i // 100, 7) for i in range(1600)]  # seven of 100, one of 900
    for batch in take(Order([group], 3, 64, keys=lambda e, g: kinds), 25):
        counts = [sum(kinds[p.row] == k for p in batch) for k in range(8)]
        assert all(3 <= n <= 5 for n in counts[:7]) and 35 <= counts[7] <= 37


def test_rare_captions_meet_all_others_in_the_course_of_epochs():
    """Which captions share a batch is drawn anew each epoch."""
    group = Group("train", "a", 0, 64)
    keys = [i // 2 for i in range(64)]
    met = {
        (keys[a.row], keys[b.row]) for batch in take(Order([group], 0, 16, lambda e, g: keys), 160) for a in batch for b in batch
    }
    assert len({pair for pair in met if pair[0] != pair[1]}) == 32 * 31


def test_a_batch_larger_than_what_is_left_runs_into_the_next_epoch():
    group = Group("train", "a", 0, 10)
    batches = take(Order([group], 0, 8), 5)
    assert [len(b) for b in batches] == [8] * 5
    assert {p.epoch for p in batches[1]} == {0, 1}


def test_a_batch_that_two_windows_share_holds_different_keys_too():
    for offset in (0, 3, 7):
        keys = [row % 12 for row in spread([i % 12 for i in range(48)], 8, offset, 0.0)]
        batches = [keys[: 8 - offset]] + [keys[i : i + 8] for i in range(8 - offset, 40, 8)]
        assert all(len(set(batch)) == len(batch) for batch in batches)


def test_windows_that_end_within_a_batch_spread_a_frequent_caption_alike():
    groups = [replace(g, bytes=16 << 20) for g in GROUPS]  # windows of 8 groups
    order = Order(groups, 0, 32, keys=lambda e, g: [r % 3 and 100 * groups.index(g) + r for r in range(g.rows)])
    counts = [sum(p.row % 3 == 0 for p in batch) for batch in take(order, ROWS // 32)]
    assert min(counts) >= 9 and max(counts) <= 14
