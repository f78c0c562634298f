"""The output of a batch: `output.jsonl` and `errors.jsonl`, each in the order of the requests; a manifest.

    .output.jsonl.partial, .errors.jsonl.partial ─▶ output.jsonl, errors.jsonl     when all is answered
    both, and .retried.jsonl.partial ─▶ both     when those that failed were tried again

Answers are appended one by one. A line that a kill cut off is removed before the run goes on, so that every
request is answered once.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from altclip.bulk.openai.answers import in_order, read_answers
from altclip.bulk.output.files import writing
from altclip.bulk.output.folder import MANIFEST
from altclip.datasets.items import DataError, is_hidden
from altclip.output import whole_file

OUTPUT, ERRORS, RETRIED = "output.jsonl", "errors.jsonl", "retried.jsonl"
VERSION, KIND = 1, "openai"
TEMPORARY = ".altclip-"


class Journal:
    """The files of an output in a folder that this process alone uses. Raises DataError where the folder
    holds something else, or was made from another batch file.

    Args:
        input: What identifies the batch file: path, size and hash.
        requests: How many it has.
        ids: Gives the ids of its requests, in order.
    """

    def __init__(
        self,
        folder: Path,
        input: Mapping[str, Any],  # noqa: A002 - the manifest's word
        requests: int,
        ids: Callable[[], Iterable[str]],
        *,
        fresh: bool,
    ) -> None:
        self.folder = folder
        self.requests = requests
        self._input = dict(input)
        self._ids = ids
        self.answered: set[str] = set()
        """Requests that runs before this one got answers to; `failed_before` are those that failed."""
        self.failed_before: set[str] = set()
        self.lines = 0
        """How many requests are answered now; `failed` of them have failed."""
        self.failed = 0
        self.revisions: dict[str, str] = {}
        """Of each model that answered."""
        self._files: dict[str, IO[bytes]] = {}
        self._prepare(fresh=fresh)

    @property
    def done(self) -> bool:
        """Whether every request is answered and the files have their names."""
        return all((self.folder / name).exists() for name in (OUTPUT, ERRORS))

    def begin(self) -> None:
        """Opens the files that lines are appended to. Raises OutputError."""
        self._save("running")
        for name in (OUTPUT, ERRORS):
            with writing(self.folder / name):
                if (self.folder / name).exists():  # the run before was killed between two renames
                    (self.folder / name).replace(self._partial(name))
                self._files[name] = self._partial(name).open("ab")

    def append(self, line: bytes, *, failed: bool) -> None:
        """One answer. Raises OutputError."""
        self._append(ERRORS if failed else OUTPUT, line)
        self.lines += 1
        self.failed += failed

    def begin_again(self) -> None:
        """Opens the file for answers to requests that have failed and are tried again. Raises OutputError."""
        self._save("running")
        with writing(self.folder / ERRORS):
            self._files[RETRIED] = self._partial(RETRIED).open("ab")

    def append_again(self, line: bytes, *, failed: bool) -> None:
        """The answer to a request that had failed. Raises OutputError."""
        self._append(RETRIED, line)
        self.failed -= not failed

    def finish_again(self) -> None:
        """Puts the answers of further tries where they belong. Raises OutputError."""
        self.close()
        retried, output, errors = (self._partial(RETRIED), self.folder / OUTPUT, self.folder / ERRORS)
        with whole_file(output) as answers, whole_file(errors) as failures:
            earlier = [read_answers(output), read_answers(errors)]
            for line in in_order(self._ids(), read_answers(retried), earlier):
                (failures if line.failed else answers).write(line.content)
        # Last: until then all of this can be done once more.
        with writing(retried, "removed"):
            retried.unlink()

    def _append(self, name: str, line: bytes) -> None:
        with writing(self.folder / (ERRORS if name == RETRIED else name)):
            self._files[name].write(line)
            self._files[name].flush()  # a kill costs at most this line

    def finish(self) -> None:
        """Every request is answered: the files get their names. Raises OutputError."""
        self.close()
        for name in (ERRORS, OUTPUT):
            with writing(self.folder / name):
                with self._partial(name).open("rb") as file:
                    os.fsync(file.fileno())
                self._partial(name).replace(self.folder / name)

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
        partial = {self._partial(name).name for name in (OUTPUT, ERRORS, RETRIED)}
        ours = {MANIFEST, OUTPUT, ERRORS, *partial}
        strangers = sorted(
            entry.name
            for entry in self.folder.iterdir()
            if entry.name not in ours and not is_hidden(entry.name)
        )
        if strangers:
            named = ", ".join(strangers[:3])
            raise DataError(f"{self.folder}: holds something else ({named}): give an empty folder")
        found = _manifest(self.folder / MANIFEST)
        if found is None and any(entry.name in ours for entry in self.folder.iterdir()):
            raise DataError(f"{self.folder}: holds answers, but no {MANIFEST}: give an empty folder")
        for entry in self.folder.glob(f"{TEMPORARY}*"):
            with writing(entry, "removed"):
                entry.unlink()
        if fresh:
            for name in sorted(ours, key=lambda name: name == MANIFEST):  # last: without it they are nobody's
                with writing(self.folder / name, "removed"):
                    (self.folder / name).unlink(missing_ok=True)
            return
        if found is not None and found["input"] != self._input:
            raise DataError(f"{self.folder}: was made from another batch file; --fresh begins anew")
        if self._partial(RETRIED).exists():  # a run ended while it tried again what had failed
            self.finish_again()
        for name in (OUTPUT, ERRORS):
            self._read(name)
        self.lines, self.failed = len(self.answered), len(self.failed_before)

    def _read(self, name: str) -> None:
        """What is answered already. The last line is cut off where it is not whole."""
        whole = self.folder / name
        path = whole if whole.exists() else self._partial(name)
        if not path.exists():
            return
        length = 0
        with writing(path):
            for line in read_answers(path):
                length += len(line.content)
                self.answered.add(line.custom_id)
                if name == ERRORS:
                    self.failed_before.add(line.custom_id)
                self.check_revision(line.body)
        if length < path.stat().st_size:
            if path == whole:
                raise DataError(f"{path}: is damaged; --fresh begins anew")
            with writing(path):
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
