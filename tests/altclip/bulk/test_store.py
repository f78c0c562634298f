"""What an interrupted evaluation finds again, and what it must never take for something else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from altclip.bulk.progress import Progress
from altclip.bulk.store import Selected, Store
from altclip.datasets.items import DataError

ABOUT = {"rows": "images", "revision": "0123"}


def store(folder: Path, marks: list[int], width: int = 2, **about: str) -> Store:
    return Store(folder, marks, width, np.float32, ABOUT | about)


def test_rows_are_found_again(tmp_path: Path) -> None:
    with store(tmp_path, [11, 12, 13]) as first:
        first.put(2, [1, 2], cut=True)
        assert first.done.tolist() == [False, False, True]
    with store(tmp_path, [11, 12, 13]) as second:
        assert second.done.tolist() == [False, False, True]
        assert second.cut.tolist() == [False, False, True]
        assert second.values[2].tolist() == [1, 2]


def test_a_row_of_something_that_changed_is_not_taken(tmp_path: Path) -> None:
    with store(tmp_path, [11, 12]) as first:
        first.put(0, [1, 2])
        first.put(1, [3, 4])
    with store(tmp_path, [11, 99]) as second:
        assert second.done.tolist() == [True, False]
    with store(tmp_path, [11, 12]) as third:  # nor when it changes back: it may have been written meanwhile
        assert third.done.tolist() == [True, False]


def test_another_number_of_rows_or_another_width_begins_anew(tmp_path: Path) -> None:
    for marks, width in (([11, 12], 2), ([11, 12, 13], 2), ([11, 12, 13], 3)):
        with store(tmp_path, marks, width) as found:
            assert not found.done.any()
            found.put(0, [1] * width)


def test_files_that_were_cut_short_begin_anew(tmp_path: Path) -> None:
    with store(tmp_path, [11]) as first:
        first.put(0, [1, 2])
    (tmp_path / "values.npy").write_bytes((tmp_path / "values.npy").read_bytes()[:100])
    with store(tmp_path, [11]) as second:
        assert not second.done.any()


def test_a_folder_of_another_revision_is_refused(tmp_path: Path) -> None:
    with store(tmp_path, [11]):
        pass
    with pytest.raises(DataError, match=r"about\.json: these are rows of something else"):
        store(tmp_path, [11], revision="4567")


def test_two_evaluations_cannot_use_one_folder_at_once(tmp_path: Path) -> None:
    with store(tmp_path, [11]), pytest.raises(DataError, match="in use by another evaluation"):
        store(tmp_path, [11])
    with store(tmp_path, [11]):
        pass


def test_rows_that_a_crash_left_without_a_mark_are_not_taken(tmp_path: Path) -> None:
    first = store(tmp_path, [11])
    first.put(0, [1, 2])  # no commit: as if the process had died here
    first._pending.clear()
    first.__exit__(None, None, None)
    with store(tmp_path, [11]) as second:
        assert not second.done.any()


def test_selected_rows_are_read_in_their_order(tmp_path: Path) -> None:
    rows = Selected(np.arange(10).reshape(5, 2), np.array([4, 0, 2]))
    assert len(rows) == 3
    assert rows[0:2].tolist() == [[8, 9], [0, 1]]
    assert rows[np.array([2, 2])].tolist() == [[4, 5], [4, 5]]


def test_progress_counts_the_speed_of_this_run_only() -> None:
    now = [0.0]
    progress = Progress(None, "pictures", 1000, clock=lambda: now[0])
    progress(400)  # an earlier run's
    now[0] = 10.0
    assert progress.line(500) == "pictures: 500 of 1,000 (50%), 10 a second, 50 s left"
    now[0] = 20.0
    assert progress.line(1000) == "pictures: 1,000 of 1,000 (100%), 30 a second"


def test_progress_writes_over_its_line_on_a_terminal_and_is_silent_where_nothing_was_to_be_done() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now, terminal = [0.0], Terminal()
    progress = Progress(terminal, "pictures", 4, clock=lambda: now[0])
    for done in range(5):
        progress(done)
        now[0] += 0.15
    progress.end(4)
    assert terminal.getvalue().count("\r") == 3  # every fifth of a second, and the end
    assert terminal.getvalue().endswith("pictures: 4 of 4 (100%), 5.33 a second\n")
    quiet = Progress(terminal, "captions", 4, clock=lambda: now[0])
    quiet(4)
    quiet.end(4)
    assert "captions" not in terminal.getvalue()
