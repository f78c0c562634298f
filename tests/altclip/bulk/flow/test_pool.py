"""Cells between reader, streams and writer: none is lost, none is done twice, and blocks keep their order."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from altclip.bulk.blocks import Block, Vectors, cut
from altclip.bulk.columns import Shape
from altclip.bulk.flow.pool import MOST_TRIES, Cell, Lane, Pool, TooManyErrors


def block(first: int, rows: int) -> Block:
    batch = pa.RecordBatch.from_pydict({"text": [f"text {n}" for n in range(first, first + rows)]})
    return Block(0, first, batch, [Vectors(rows, Shape("float32", 4))])


def filled(
    *blocks: Block, most_errors: int | None = None, clock: Callable[[], float] = time.monotonic
) -> Pool:
    pool = Pool(["text"], most_errors, clock)
    for each in blocks:
        assert pool.add(each, [(row, 0) for row in range(len(each))])
    pool.end_of_input()
    return pool


def place(cell: Cell | None) -> int:
    assert cell is not None
    return cell.block.first + cell.row


def test_what_a_broken_stream_had_under_way_comes_first_and_in_order() -> None:
    pool = filled(block(0, 5))
    broken, other = Lane(), Lane()
    assert [place(pool.take(broken)) for _ in range(3)] == [0, 1, 2]
    assert pool.end(broken) == 3
    assert pool.take(broken) is None
    assert [place(pool.take(other)) for _ in range(5)] == [0, 1, 2, 3, 4]


def test_blocks_leave_in_their_order_whichever_is_whole_first() -> None:
    one, two = block(0, 1), block(1, 1)
    pool, lane = filled(one, two), Lane()
    first, second = pool.take(lane), pool.take(lane)
    assert first is not None
    assert second is not None
    pool.done_with(lane, second)
    pool.done_with(lane, first)
    for each in (one, two):
        assert pool.next_whole() is each
        pool.written(each)
    assert pool.next_whole() is None
    assert pool.take(Lane()) is None


def test_a_cell_whose_own_fault_it_is_is_given_up_after_some_tries() -> None:
    pool, lane = filled(block(0, 1)), Lane()
    for tries in range(1, MOST_TRIES + 1):
        cell = pool.take(lane)
        assert cell is not None
        assert pool.again(lane, cell, 0.0, its_own=True) == (tries < MOST_TRIES)
    assert cell is not None
    pool.fail(lane, cell, "INTERNAL", "no")
    whole = pool.next_whole()
    assert whole is not None
    assert [(each.row, each.reason) for each in whole.failures] == [(0, "INTERNAL")]


def test_a_service_that_is_away_uses_up_no_tries() -> None:
    pool, lane = filled(block(0, 1)), Lane()
    for _ in range(5 * MOST_TRIES):
        cell = pool.take(lane)
        assert cell is not None
        assert pool.again(lane, cell, 0.0, its_own=False)


def test_nothing_moves_while_a_service_answers_with_refusals_alone() -> None:
    now = [0.0]
    pool, lane = filled(block(0, 3), clock=lambda: now[0]), Lane()
    for _ in range(10):
        cells = [pool.take(lane) for _ in range(3)]
        for cell in cells:
            assert cell is not None
            assert pool.again(lane, cell, 1.0, its_own=False)
        now[0] += 1
    assert pool.idle_seconds() == 10
    cell = pool.take(lane)
    assert cell is not None
    pool.done_with(lane, cell)
    now[0] += 1
    assert pool.idle_seconds() == 1


def test_what_other_servers_do_uses_up_no_tries() -> None:
    pool, lane, healthy = filled(block(0, 5 * MOST_TRIES)), Lane(), Lane()
    for _ in range(4 * MOST_TRIES):
        cell, other = pool.take(lane), pool.take(healthy)
        assert place(cell) == 0
        assert cell is not None
        assert other is not None
        pool.done_with(healthy, other)
        assert pool.again(lane, cell, 0.0, its_own=None)


@pytest.mark.parametrize("brought", [True, False])
def test_a_cell_that_fails_while_its_stream_brings_others_is_given_up(brought: bool) -> None:
    pool, lane = filled(block(0, 5 * MOST_TRIES)), Lane()
    for tries in range(1, 2 * MOST_TRIES):
        cell, other = pool.take(lane), pool.take(lane)
        assert cell is not None
        assert other is not None
        if brought:
            pool.done_with(lane, other)
        else:
            pool.fail(lane, other, "UNDECODABLE_IMAGE", "a server without a worker says so, too")
        wanted = not brought or tries < MOST_TRIES
        assert pool.again(lane, cell, 0.0, its_own=None) == wanted
        if not wanted:
            return


def test_too_many_failed_rows_end_the_work() -> None:
    pool, lane = filled(block(0, 3), most_errors=2), Lane()
    for _ in range(2):
        cell = pool.take(lane)
        assert cell is not None
        pool.fail(lane, cell, "INVALID_REQUEST", "no")
    assert isinstance(pool.error, TooManyErrors)
    assert pool.take(lane) is None
    assert pool.next_whole() is None


@pytest.mark.parametrize("first", [0, 10, 20])
def test_blocks_are_the_same_from_whichever_part_the_reading_begins(first: int) -> None:
    batch = pa.RecordBatch.from_pydict({"n": list(range(50))})
    whole = [(row, len(each)) for row, each in cut([batch.slice(0, 25), batch.slice(25)], 0, 10)]
    halves = (batch.slice(first, max(0, 25 - first)), batch.slice(max(first, 25)))
    found = [(row, len(each)) for row, each in cut([half for half in halves if len(half)], first, 10)]
    assert found == [(row, rows) for row, rows in whole if row >= first]
    assert whole == [(0, 10), (10, 10), (20, 5), (25, 5), (30, 10), (40, 10)]


@pytest.mark.parametrize("encoded", [False, True])
def test_large_cells_end_a_block_early(encoded: bool) -> None:
    images = pa.array([bytes([n]) * (6 << 20) for n in range(7)])
    batch = pa.RecordBatch.from_pydict({"image": images.dictionary_encode() if encoded else images})
    assert [len(each) for _, each in cut([batch], 0, 100)] == [3, 3, 1]
