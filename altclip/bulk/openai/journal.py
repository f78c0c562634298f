"""The output of a batch: `output.jsonl` and `errors.jsonl`, each in the order of the requests; a manifest.

    .output.jsonl.partial, .errors.jsonl.partial ─▶ output.jsonl, errors.jsonl     when all is answered

Answers are appended one by one. A line that a kill cut off is removed before the run goes on, so that every
request is answered once.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from altclip.bulk.output.folder import MANIFEST
from altclip.datasets.items import DataError
from altclip.output import OutputError, whole_file

OUTPUT, ERRORS = "output.jsonl", "errors.jsonl"
VERSION, KIND = 1, "openai"
TEMPORARY = ".altclip-"


class Journal:
    """The files of an output in a folder that this process alone uses. Raises DataError where the folder
    holds something else, or was made from another batch file.

    Args:
        input: What identifies the batch file: path, size and hash.
        requests: How many it has.
    """

    def __init__(self, folder: Path, input: Mapping[str, Any], requests: int, *, fresh: bool) -> None:  # noqa: A002 - the manifest's word
        self.folder = folder
        self.requests = requests
        self._input = dict(input)
        self.answered: set[str] = set()
        self.failed = 0
        self.revisions: dict[str, str] = {}
        """Of each model that answered."""
        self._prepare(fresh=fresh)
        self._files: dict[str, IO[bytes]] = {}

    @property
    def done(self) -> bool:
        """Whether every request is answered and the files have their names."""
        return all((self.folder / name).exists() for name in (OUTPUT, ERRORS))

    def begin(self) -> None:
        """Opens the files that lines are appended to. Raises OutputError."""
        self._save("running")
        for name in (OUTPUT, ERRORS):
            with _naming(self.folder / name):
                if (self.folder / name).exists():  # the run before was killed between two renames
                    (self.folder / name).replace(self._partial(name))
                self._files[name] = self._partial(name).open("ab")

    def append(self, line: bytes, *, failed: bool) -> None:
        """One answer. Raises OutputError."""
        name = ERRORS if failed else OUTPUT
        with _naming(self.folder / name):
            self._files[name].write(line)
            self._files[name].flush()  # a kill costs at most this line
        self.failed += failed

    def finish(self) -> None:
        """Every request is answered: the files get their names. Raises OutputError."""
        self.close()
        for name in (ERRORS, OUTPUT):
            with _naming(self.folder / name):
                with self._partial(name).open("rb") as file:
                    os.fsync(file.fileno())
                self._partial(name).replace(self.folder / name)
        self.confirm()

    def confirm(self) -> None:
        """Says in the manifest that the files are whole. Raises OutputError."""
        self._save("done")

    def close(self) -> None:
        """Nothing more is appended."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        self._files = {}

    def _prepare(self, *, fresh: bool) -> None:
        ours = {MANIFEST, OUTPUT, ERRORS, *(self._partial(name).name for name in (OUTPUT, ERRORS))}
        strangers = sorted(
            entry.name
            for entry in self.folder.iterdir()
            if entry.name not in ours and not entry.name.startswith(TEMPORARY)
        )
        if strangers:
            named = ", ".join(strangers[:3])
            raise DataError(f"{self.folder}: holds something else ({named}): give an empty folder")
        found = _manifest(self.folder / MANIFEST)
        if found is None and any(entry.name in ours for entry in self.folder.iterdir()):
            raise DataError(f"{self.folder}: holds answers, but no {MANIFEST}: give an empty folder")
        for entry in self.folder.glob(f"{TEMPORARY}*"):
            entry.unlink()
        if fresh:
            for name in ours:
                (self.folder / name).unlink(missing_ok=True)
            return
        if found is not None and found["input"] != self._input:
            raise DataError(f"{self.folder}: was made from another batch file; --fresh begins anew")
        for name in (OUTPUT, ERRORS):
            self._read(name)

    def _read(self, name: str) -> None:
        """What is answered already. The last line is cut off where it is not whole."""
        whole = self.folder / name
        path = whole if whole.exists() else self._partial(name)
        if not path.exists():
            return
        length = 0
        with _naming(path), path.open("rb") as file:
            for line in file:
                try:
                    found = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    found = None
                if found is None:
                    break
                length += len(line)
                self.answered.add(found["custom_id"])
                self.failed += name == ERRORS
                self.check_revision(found["response"]["body"])
        if length < path.stat().st_size:
            if path == whole:
                raise DataError(f"{path}: is damaged; --fresh begins anew")
            with _naming(path):
                os.truncate(path, length)

    def check_revision(self, body: Any) -> None:
        """Remembers which weights answered. Raises DataError where a model's have changed since."""
        model, revision = (
            (body.get(name) for name in ("model", "revision")) if isinstance(body, dict) else ("", "")
        )
        if isinstance(model, str) and isinstance(revision, str) and revision:
            before = self.revisions.setdefault(model, revision)
            if before != revision:
                raise DataError(
                    f"the weights of {model!r} changed from {before} to {revision}, and vectors of both must "
                    "not be mixed; --fresh begins anew"
                )

    def _partial(self, name: str) -> Path:
        return self.folder / f".{name}.partial"

    def _save(self, state: str) -> None:
        content = {
            "version": VERSION,
            "kind": KIND,
            "input": self._input,
            "revisions": self.revisions,
            "requests": self.requests,
            "errors": self.failed,
            "state": state,
        }
        with whole_file(self.folder / MANIFEST) as file:
            file.write(f"{json.dumps(content, indent=2)}\n".encode())


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    if not isinstance(found, dict) or (found.get("kind"), found.get("version")) != (KIND, VERSION):
        raise DataError(f"{path}: not of a batch file")
    return found


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
