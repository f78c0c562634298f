"""Parts of a run that are kept: what is taken up again, and what is thrown away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import kept
from benchmarks.__main__ import to_take
from benchmarks.kept import code, read_part, write_part
from benchmarks.report import Found, Row

FOUND = Found([Row("a", "b", [1.0, 2.0], bar=1.5, facts={"calls/s": 3.0}, others=0.1)], {"c": "no c here"})


def test_a_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_part(tmp_path / "part.json", FOUND, "abc")
    assert read_part(tmp_path / "part.json", "abc") == FOUND


def test_a_part_of_another_machine_or_other_code_is_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "part.json"
    write_part(path, FOUND, "abc")
    assert read_part(path, "abd") is None
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": {"processor": "another"}}))
    assert read_part(path, "abc") is None


def test_nothing_is_kept_where_the_code_has_no_name(tmp_path: Path) -> None:
    write_part(tmp_path / "part.json", FOUND, "")
    assert read_part(tmp_path / "part.json", "") is None


def test_a_part_that_is_not_there_or_damaged_is_taken_anew(tmp_path: Path) -> None:
    assert read_part(tmp_path / "none.json", "abc") is None
    (tmp_path / "half.json").write_text('{"machine": {')
    assert read_part(tmp_path / "half.json", "abc") is None


def test_a_run_takes_what_is_missing() -> None:
    kept = {"a": FOUND, "c": Found(skipped={"c": "no c here"})}
    assert to_take(["a", "b", "c"], kept, None, anew=False) == ["b", "c"]
    assert to_take(["a", "b", "c"], kept, None, anew=True) == ["a", "b", "c"]


def test_a_part_that_is_named_is_taken_again() -> None:
    assert to_take(["a", "b"], {"a": FOUND}, ["a"], anew=False) == ["a"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_code_is_told_apart_by_its_commit_and_by_what_was_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # a hook of git's has them set
        monkeypatch.delenv(name, raising=False)
    assert code() == "", "no repository"
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    kept._git("init", "-q")
    (tmp_path / "file").write_text("one")
    kept._git("add", "file")
    kept._git(*who, "commit", "-q", "-m", "one")
    committed = code()
    (tmp_path / "file").write_text("two")
    changed = code()
    (tmp_path / "file").write_text("three")
    again = code()
    (tmp_path / "new").write_text("a new one")
    with_new = code()
    assert len({committed, changed, again, with_new}) == 4
    assert all(name.startswith(committed) for name in (changed, again, with_new))
    (tmp_path / "new").unlink()
    (tmp_path / "file").write_text("one")
    assert code() == committed
