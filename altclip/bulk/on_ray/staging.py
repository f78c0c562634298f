"""Where actors write: a folder in the output that belongs to one run, with a folder for each try of a part.

Only the driver, which holds the output, moves a part to its place there. An actor that outlives its driver,
or that was taken for dead, writes where nobody looks; when the next run begins, its folder is gone.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path

from altclip.bulk.output.files import writing
from altclip.bulk.output.layout import Layout
from altclip.bulk.output.manifest import Part
from altclip.bulk.sources.locations import Location, Remote
from altclip.output import OutputError

MOST_TRIES = 5
"""How often a part is tried: an actor that dies of its input would die of it for ever."""
BEGUN = "begun"
"""A store has no empty folders: this file says that a try has begun."""


class Staging:
    """The folder of a run. Raises OutputError."""

    def __init__(self, output: Location) -> None:
        self.output = output
        self.path = output / f".altclip-{secrets.token_hex(8)}.partial"
        if isinstance(self.path, Path):
            with writing(self.path, "made"):
                self.path.mkdir()

    def take(self, name: str, part: Part) -> None:
        """Moves a part from the folder of this name to its place. Raises OutputError."""
        for stored in reversed(part.files):  # the errors table first
            here, there = self.path / name / stored.name, self.output / stored.name
            with writing(there, "put in place"):
                _move(here, there)
        end_try(self.path / name)

    def remove(self) -> None:
        """Nothing of it is left."""
        end_try(self.path)


def begin_try(staging: Location, name: str, layout: Layout) -> Location:
    """A folder for this try of the part that this name stands for. Raises OutputError; RuntimeError where too
    many tries of it have died.

    A try that ends, well or not, leaves no folder, so those that are there have died.
    """
    if len(_tries(staging, name)) >= MOST_TRIES:
        raise RuntimeError(f"{MOST_TRIES} processes died while they made {name}")
    folder = staging / f"{name}-{secrets.token_hex(8)}"
    if not isinstance(folder, Path):
        with writing(folder):
            folder.system.pipe_file((folder / BEGUN).path, b"")
        return folder
    try:
        folder.mkdir()
        for each in layout.folders:
            (folder / each).mkdir()
    except FileNotFoundError:
        told = "is not there: input and output must lie where every node of the cluster finds them"
        raise OutputError(f"{staging.parent} {told}") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from None
    return folder


def end_try(folder: Location) -> None:
    """Removes the folder of a try that has ended. What cannot be removed, the next run removes."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with contextlib.suppress(Exception):
        folder.system.rm(folder.path, recursive=True)


def _move(here: Location, there: Location) -> None:
    if isinstance(here, Path) and isinstance(there, Path):
        here.replace(there)
    elif isinstance(here, Remote) and isinstance(there, Remote):
        here.system.mv(here.path, there.path)


def _tries(staging: Location, name: str) -> list[object]:
    if isinstance(staging, Path):
        return list(staging.glob(f"{name}-*"))
    return list((staging / f"{name}-*" / BEGUN).matches())
