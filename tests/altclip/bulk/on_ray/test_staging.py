"""Only the run that holds the output puts parts in their places; what died is tried again, not for ever."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from altclip.bulk.on_ray.staging import MOST_TRIES, Staging, begin_try, end_try
from altclip.bulk.output.folder import Folder
from altclip.bulk.output.layout import Layout
from altclip.bulk.output.manifest import Part
from altclip.bulk.sources.locations import Location, Remote, location_of
from altclip.output import OutputError

PART = Part("part-00003.parquet", 30, 9, 5, "a", 1, 15, "b")
LAYOUT = Layout()


def put(place: Location, content: str) -> None:
    if isinstance(place, Path):
        place.write_text(content)
    else:
        place.system.pipe_file(place.path, content.encode())


def written(folder: Location, content: str) -> None:
    for stored in PART.files:
        put(folder / stored.name, f"{stored.name} {content}")


def names(folder: Location) -> list[str]:
    """Of all files and folders."""
    if isinstance(folder, Path):
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(each.relative_to(folder).as_posix() for each in folder.below())


def begin(staging: Staging, number: int) -> Location:
    return begin_try(staging.path, f"part-{number}", LAYOUT)


@pytest.fixture(params=["folder", "store"])
def output(tmp_path: Path, request: pytest.FixtureRequest) -> Location:
    given = str(tmp_path / "out") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/out"
    with Folder(location_of(given)) as folder:
        folder.prepare()
        folder.make(LAYOUT)
        return folder.path


def test_a_part_gets_its_place_and_nothing_else_is_left(output: Location) -> None:
    staging = Staging(output)
    died, whole = begin(staging, 3), begin(staging, 3)
    written(died, "half")
    written(whole, "whole")
    staging.take(whole.name, PART)
    for stored in PART.files:
        assert (output / stored.name).read_bytes().decode() == f"{stored.name} whole"
    staging.remove()
    folders = [] if isinstance(output, Remote) else ["errors"]
    assert names(output) == sorted([*folders, *(stored.name for stored in PART.files)])


def test_the_next_run_removes_what_an_earlier_one_left(output: Location) -> None:
    staging = Staging(output)
    begin(staging, 4)
    written(begin(staging, 3), "half")
    with Folder(output) as mine:
        assert mine.prepare() is None
    assert names(output) == ([] if isinstance(output, Remote) else ["errors"])


def test_a_process_of_an_earlier_run_can_write_no_more(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    folder = begin(staging, 3)
    assert isinstance(folder, Path)
    with (folder / "half").open("w") as half_written:
        with Folder(tmp_path) as mine:
            mine.prepare()
        half_written.write("it still has the file")
    with pytest.raises(FileNotFoundError):
        (folder / "half").rename(folder / PART.name)
    with pytest.raises(OutputError, match="is not there"):
        begin(staging, 4)
    assert names(tmp_path) == []


def test_a_part_that_kills_whoever_makes_it_is_given_up(output: Location) -> None:
    staging = Staging(output)
    for _ in range(MOST_TRIES):
        end_try(begin(staging, 3))  # these failed in order, and do not count
    for _ in range(MOST_TRIES):
        begin(staging, 3)
    with pytest.raises(RuntimeError, match="5 processes died while they made part-3"):
        begin(staging, 3)
    begin(staging, 30)


def test_what_is_not_there_cannot_be_put_in_place(output: Location) -> None:
    with pytest.raises(OutputError, match=r"errors/part-00003\.parquet: cannot be put in place"):
        Staging(output).take("part-3-00", PART)
