"""Where a conversion is written until it is whole: beside the directory NAME that it becomes.

    .NAME.lock                  held while one process converts into NAME; others wait; removed with its end
    .NAME.XXXXXXXX.unfinished   what is being written; becomes NAME by a rename
    .NAME.XXXXXXXX.replaced     the earlier NAME, from when it is moved aside until it is deleted

Whoever holds the lock knows that all other directories with these names are of processes that were killed:
the kernel takes the lock from a process however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["put_in_place", "reserved", "unfinished"]

log = logging.getLogger(__name__)

_UNFINISHED, _REPLACED = ".unfinished", ".replaced"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system answers that knows no locks."""


@contextlib.contextmanager
def reserved(target: Path) -> Iterator[None]:
    """In the block no other process converts into `target`. What killed ones have left is removed first.

    Waits while another process converts into it. Where the file system knows no locks, nothing is removed.
    Raises OSError where the directory around `target` cannot be written.
    """
    with _locked(target.with_name(f".{target.name}.lock"), target) as held:
        if held:
            _remove_leftovers(target)
        yield


@contextlib.contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A new directory, which is gone after the block unless it was put in place."""
    work = _new(target, _UNFINISHED)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def put_in_place(work: Path, target: Path) -> None:
    """Renames, with an earlier conversion moved aside first and deleted after. Raises OSError; then, and
    where a signal's handler raises, the earlier one is where it was."""
    aside = None
    try:
        if target.is_dir():
            aside = _new(target, _REPLACED)
            target.rename(aside)
        work.rename(target)
    finally:
        if aside is not None:
            if not target.is_dir():
                aside.rename(target)
            shutil.rmtree(aside, ignore_errors=True)


def _new(target: Path, suffix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=suffix, dir=target.parent))


def _remove_leftovers(target: Path) -> None:
    """An earlier conversion that was moved aside, and for which nothing came, goes back to its place."""
    name = re.escape(target.name)
    ours = re.compile(rf"\.{name}\.[a-z0-9_]{{8}}({re.escape(_UNFINISHED)}|{re.escape(_REPLACED)})")
    for path in sorted(target.parent.iterdir()):
        found = ours.fullmatch(path.name)
        if found is None or path.is_symlink() or not path.is_dir():
            continue
        if found[1] == _REPLACED and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, target: Path) -> Iterator[bool]:
    """Whether the lock is held; it is not where the file system knows none."""
    while True:
        with path.open("ab") as file:
            held = _wait_for_lock(file.fileno(), target)
            if held and not _is_at(file.fileno(), path):
                continue  # who held it before has removed this file, and another one may have made a new one
            try:
                yield held
            finally:
                path.unlink(missing_ok=True)
            return


def _wait_for_lock(descriptor: int, target: Path) -> bool:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another process converts into %s: waiting until it has ended", target)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
