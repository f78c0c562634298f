"""`altclip bulk openai`: from the parsed arguments to the exit status.

batch file ─▶ Gateway, several requests at a time ─▶ Journal, in the order of the requests
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from altclip.bulk.arguments import add_failures, add_patience
from altclip.bulk.command import DONE, FAILED, status_of
from altclip.bulk.flow.pool import TooManyErrors
from altclip.bulk.openai.journal import Journal
from altclip.bulk.openai.posting import Answer, Gateway
from altclip.bulk.openai.requests import BatchRequest, answer_line, count_requests, read_requests
from altclip.bulk.output.folder import Folder
from altclip.bulk.reporting import Report
from altclip.bulk.sources.files import hash_of
from altclip.bulk.sources.locations import location_of
from altclip.channel import key_of
from altclip.client import Client
from altclip.datasets.items import DataError
from altclip.errors import AltClipError
from altclip.printing import say_json, tell


class Keep(Protocol):
    """Where the line of an answer goes."""

    def __call__(self, line: bytes, *, failed: bool) -> None: ...


def run(clients: Sequence[Client], arguments: argparse.Namespace) -> int:
    """Answers the requests of a batch file that have no answer yet."""
    batch = Batch(arguments)
    try:
        batch.run()
    except (AltClipError, OSError, ValueError) as error:
        batch.tell(" ".join(str(error).split()))
        batch.close(done=False)
        return status_of(error)
    except KeyboardInterrupt:
        batch.tell("interrupted")
        batch.close(done=False)
        raise
    return batch.close(done=True)


class Batch:
    """One run over a batch file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._journal: Journal | None = None
        self._report: Report | None = None
        self._started = time.monotonic()
        self._handled = self._failed = 0

    def run(self) -> None:
        """Raises DataError, OutputError, TooManyErrors, and AltClipError where the service cannot be used."""
        source, output = _local(self._arguments.input), _local(self._arguments.output)
        gateway = Gateway(
            self._arguments.http,
            key_of(os.environ.get("ALTCLIP_API_KEY")) or "",
            self._arguments.patience,
            _trust(self._arguments),
            self.tell,
        )
        requests = count_requests(source)
        size, digest = hash_of(source)
        with Folder(output):
            identity = {"path": source.name, "size": size, "hash": digest}

            def ids() -> Iterator[str]:
                return (request.custom_id for request in read_requests(source))

            journal = Journal(output, identity, requests, ids, fresh=self._arguments.fresh)
            self._journal = journal
            answered = journal.answered
            again = journal.failed_before if self._arguments.retry_failed else frozenset()
            self._report = Report(requests - len(answered) + len(again))
            try:
                if not journal.done:
                    journal.begin()
                    missing = (each for each in read_requests(source) if each.custom_id not in answered)
                    self._answer(gateway, missing, journal, journal.append)
                    journal.finish()
                if again:
                    journal.begin_again()
                    failed = (each for each in read_requests(source) if each.custom_id in again)
                    self._answer(gateway, failed, journal, journal.append_again)
                    journal.finish_again()
            finally:
                journal.close()
            journal.confirm()

    def _answer(
        self, gateway: Gateway, requests: Iterable[BatchRequest], journal: Journal, keep: Keep
    ) -> None:
        with contextlib.closing(gateway.answers(requests)) as answers:
            for answer in answers:
                self._keep(answer, journal, keep)

    def _keep(self, answer: Answer, journal: Journal, keep: Keep) -> None:
        try:
            body: Any = json.loads(answer.content)
        except ValueError:
            body = answer.content.decode("utf-8", "replace")
        failed = not 200 <= answer.status < 300
        journal.check_revision(body)
        request_id = answer.headers.get("x-request-id", answer.request.id)
        keep(answer_line(answer.request, answer.status, request_id, body), failed=failed)
        self._handled += 1
        self._failed += failed
        most = self._arguments.max_errors
        if most is not None and self._failed >= max(most, 1):
            raise TooManyErrors(self._failed, "requests")
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
        answered = journal.lines - failed if journal else 0
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
    add_failures(parser, "requests")
    add_patience(parser)


def _local(given: str) -> Path:
    """A path of this machine. Raises DataError for the address of a store."""
    location = location_of(given)
    if not isinstance(location, Path):
        raise DataError(f"{given}: batch files and their answers are files of this machine")
    return location


def _trust(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """What the options on certificates say; None where there are none. Raises DataError, and OSError that
    names the file."""
    roots, chain, key = arguments.root_certificates, arguments.certificate, arguments.key
    if roots is None and chain is None:
        return None
    for path in (roots, chain, key):
        if path is not None:
            path.read_bytes()  # the errors below name no file
    try:
        context = ssl.create_default_context(cafile=roots)
    except ssl.SSLError:
        raise DataError(f"--root-certificates: {roots} has no PEM certificate") from None
    if chain is not None:
        try:
            context.load_cert_chain(chain, key, password="")  # or a key with a password asks the terminal
        except ssl.SSLError:
            told = f"{chain} and {key} are not a PEM certificate and its key, without a password"
            raise DataError(f"--certificate and --key: {told}") from None
    return context
