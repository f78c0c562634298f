"""`altclip bulk openai`: from the parsed arguments to the exit status.

batch file ─▶ Gateway, several requests at a time ─▶ Journal, in the order of the requests
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from altclip.bulk.arguments import add_patience
from altclip.bulk.openai.journal import Journal
from altclip.bulk.openai.posting import Answer, Gateway
from altclip.bulk.openai.requests import BatchRequest, answer_line, count_requests, read_requests
from altclip.bulk.output.folder import Folder
from altclip.bulk.reporting import Report
from altclip.bulk.sources.files import hash_of
from altclip.client import Client
from altclip.errors import AltClipError
from altclip.output import OutputError
from altclip.printing import say_json, tell

DONE, FAILED, WRONG_USAGE, TRY_LATER, NO_OUTPUT = 0, 1, 2, 3, 4


def run(clients: Sequence[Client], arguments: argparse.Namespace) -> int:
    """Answers the requests of a batch file that have no answer yet."""
    batch = Batch(arguments)
    try:
        batch.run()
    except (AltClipError, OSError, ValueError) as error:
        batch.tell(" ".join(str(error).split()))
        batch.close(done=False)
        return TRY_LATER if isinstance(error, AltClipError) else status_of(error)
    except KeyboardInterrupt:
        batch.tell("interrupted")
        batch.close(done=False)
        raise
    return batch.close(done=True)


def status_of(error: OSError | ValueError) -> int:
    """The exit status of a run that ended with this error."""
    return NO_OUTPUT if isinstance(error, OutputError) else WRONG_USAGE


class Batch:
    """One run over a batch file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._journal: Journal | None = None
        self._report: Report | None = None
        self._started = time.monotonic()
        self._handled = 0

    def run(self) -> None:
        """Raises DataError, OutputError, and AltClipError where the service cannot be used."""
        source, output = Path(self._arguments.input), Path(self._arguments.output)
        gateway = Gateway(
            self._arguments.http,
            os.environ.get("ALTCLIP_API_KEY", ""),
            self._arguments.patience,
            _trust(self._arguments.root_certificates),
            self.tell,
        )
        requests = count_requests(source)
        size, digest = hash_of(source)
        with Folder(output):
            identity = {"path": source.name, "size": size, "hash": digest}
            journal = Journal(output, identity, requests, fresh=self._arguments.fresh)
            self._journal = journal
            if journal.done:
                journal.confirm()
                return
            journal.begin()
            self._report = Report(requests - len(journal.answered))
            try:
                for answer in gateway.answers(_missing(source, journal.answered)):
                    self._keep(journal, answer)
                journal.finish()
            finally:
                journal.close()

    def _keep(self, journal: Journal, answer: Answer) -> None:
        try:
            body: Any = json.loads(answer.content)
        except ValueError:
            body = answer.content.decode("utf-8", "replace")
        failed = not 200 <= answer.status < 300
        journal.check_revision(body)
        request_id = answer.headers.get("x-request-id", answer.request.id)
        journal.append(answer_line(answer.request, answer.status, request_id, body), failed=failed)
        self._handled += 1
        if self._report is not None:
            self._report(self._handled, journal.failed, {"server": time.monotonic() - self._started})

    def tell(self, line: str) -> None:
        """A line for people."""
        if self._report is not None:
            self._report.end()
        tell(f"altclip: {line}")

    def close(self, *, done: bool) -> int:
        """Says what there is now, and how to go on. Gives the exit status."""
        if self._report is not None:
            self._report.end()
        journal, seconds = self._journal, time.monotonic() - self._started
        requests = journal.requests if journal else 0
        failed = journal.failed if journal else 0
        answered = len(journal.answered) + self._handled - failed if journal else 0
        if journal is not None:
            told = f"{answered:,} are answered, {failed:,} are in {journal.folder}/errors.jsonl"
            tell(f"{requests:,} requests: {told}")
            if not done:
                tell("the same command, without --fresh, goes on where this one stopped")
        say_json(
            {
                "rows": requests,
                "embedded": answered,
                "errors": failed,
                "seconds": round(seconds, 3),
                "rows_per_second": round(self._handled / seconds, 1) if seconds else 0.0,
            }
        )
        return FAILED if failed else DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `bulk openai`."""
    parser.add_argument("input", metavar="BATCH", help="a batch file (JSON lines, may end in .gz)")
    parser.add_argument("output", metavar="OUTPUT", help="a folder")
    parser.add_argument(
        "--http",
        required=True,
        metavar="URL",
        help="the service's HTTP address, such as http://localhost:8080",
    )
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on with OUTPUT where it fits (the default)")
    begin.add_argument("--fresh", action="store_true", help="begin anew; what is in OUTPUT is removed")
    add_patience(parser)


def _missing(source: Path, answered: set[str]) -> Iterator[BatchRequest]:
    return (request for request in read_requests(source) if request.custom_id not in answered)


def _trust(certificates: Path | None) -> ssl.SSLContext | None:
    return None if certificates is None else ssl.create_default_context(cafile=str(certificates))
