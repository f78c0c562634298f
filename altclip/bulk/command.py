"""`altclip bulk` and its kin: from the parsed arguments to the exit status."""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from altclip.bulk.flow.pool import TooManyErrors
from altclip.bulk.flow.servers import Servers
from altclip.bulk.flow.work import Maker
from altclip.bulk.job import Job
from altclip.bulk.on_ray.cluster import OnRay
from altclip.bulk.on_ray.parts import Access
from altclip.bulk.output.verify import verify
from altclip.bulk.plan import Options, Wanted
from altclip.bulk.progress import duration
from altclip.bulk.reporting import Report
from altclip.bulk.sources.locations import location_of
from altclip.client import Client
from altclip.datasets.items import DataError
from altclip.errors import AltClipError, InvalidArgument, RevisionChanged
from altclip.output import OutputError
from altclip.printing import say, say_json, tell

DONE, FAILED, WRONG_USAGE, TRY_LATER, NO_OUTPUT = 0, 1, 2, 3, 4


def run(clients: Sequence[Client], arguments: Namespace) -> int:
    """Embeds an input into an output."""
    return _run(clients, arguments, extend=False)


def run_extend(clients: Sequence[Client], arguments: Namespace) -> int:
    """Adds what is new in the input to an output."""
    return _run(clients, arguments, extend=True)


def run_verify(clients: Sequence[Client], arguments: Namespace) -> int:
    """Checks an output."""
    found = verify(location_of(arguments.output))
    for fault in found.faults:
        say(fault)
    say_json(
        {
            "rows": found.rows,
            "embedded": found.embedded,
            "errors": found.errors,
            "faults": len(found.faults),
        }
    )
    return FAILED if found.faults else DONE


def _run(clients: Sequence[Client], arguments: Namespace, *, extend: bool) -> int:
    wanted = Wanted(
        tuple(arguments.text),
        tuple(arguments.image),
        arguments.id,
        arguments.model,
        arguments.encoding,
        arguments.vector_type,
        arguments.orientation,
        arguments.rows_per_shard,
        arguments.format,
    )
    options = Options(
        arguments.fresh, extend, arguments.retry_failed, arguments.max_errors, arguments.patience
    )
    job = Job(arguments.input, location_of(arguments.output), wanted, options, _maker(clients, arguments))
    progress = _Progress(job)
    job.look, job.tell = progress.look, progress.tell
    try:
        if arguments.dry_run:
            return _rehearse(job)
        # Ray tells on standard output what happens to its nodes; ours is for one line at the end.
        with contextlib.redirect_stdout(sys.stderr), contextlib.closing(job.maker):
            job.run()
    except (AltClipError, OSError, ValueError) as error:
        progress.tell(" ".join(str(error).split()))
        _close(job, progress, done=False)
        return status_of(error)
    except KeyboardInterrupt:
        progress.tell("interrupted")
        _close(job, progress, done=False)
        raise
    _close(job, progress, done=True)
    return FAILED if job.summary().errors else DONE


def _maker(clients: Sequence[Client], arguments: Namespace) -> Maker:
    """Who makes the parts: this process with these clients, or a cluster, whose actors make their own."""
    if arguments.ray is None:
        return Servers(clients)
    own = (arguments.certificate, arguments.key)
    access = Access(
        addresses=tuple(arguments.address or ()),
        api_key=os.environ.get("ALTCLIP_API_KEY"),
        timeout=arguments.timeout,
        tls=arguments.tls,
        root_certificates=arguments.root_certificates and arguments.root_certificates.read_bytes(),
        own_certificate=(own[0].read_bytes(), own[1].read_bytes()) if all(own) else None,
    )
    return OnRay(arguments.ray, access, arguments.ray_actors, arguments.ray_cpus, arguments.ray_gpus)


def _rehearse(job: Job) -> int:
    found = job.rehearse()
    rate = f"{found.rows_per_second:,.0f} rows a second, about {duration(found.seconds)} in all"
    tell(f"{found.rows:,} rows, read in {found.reading:.1f} s")
    tell(f"a sample of {found.sample:,} rows: {found.failed:,} cells failed; {rate}")
    say_json(
        {
            "rows": found.rows,
            "embedded": 0,
            "errors": 0,
            "seconds": round(found.seconds, 3),
            "rows_per_second": round(found.rows_per_second, 1),
        }
    )
    return DONE


def status_of(error: BaseException) -> int:
    """The exit status of a run that ended with this error."""
    if isinstance(error, TooManyErrors):
        return FAILED
    if isinstance(error, OutputError):
        return NO_OUTPUT
    if isinstance(error, AltClipError) and not isinstance(error, InvalidArgument | RevisionChanged):
        return TRY_LATER
    return WRONG_USAGE


class _Progress:
    """Shows a job's progress from when its parts are being made."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._report: Report | None = None

    def look(self) -> None:
        job = self._job
        if self._report is None:
            self._report = Report(job.cells)
        self._report(job.maker.done, job.maker.failed_rows, job.summary().times)

    def tell(self, line: str) -> None:
        if self._report is not None:
            self._report.end()
        tell(f"altclip: {line}")

    def end(self) -> None:
        if self._report is not None:
            self._report.end()


def _close(job: Job, progress: _Progress, *, done: bool) -> None:
    """Says what there is now, and how to go on."""
    progress.end()
    summary = job.summary()
    if job.manifest is not None:
        told = f"{summary.embedded:,} have vectors, {summary.errors:,} are in {job.output}/errors"
        tell(
            f"{summary.rows:,} rows: {told}; {summary.seconds:.1f} s, {summary.rows_per_second:,.0f} a second"
        )
        if summary.times:
            parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in summary.times.items())
            tell(f"{parts}; most of the time went to: {summary.slowest}")
        if not done:
            tell("the same command, without --fresh, goes on where this one stopped")
    if done and summary.rows != summary.embedded + summary.errors:
        raise DataError("the books do not balance: run `altclip bulk verify`")
    say_json(summary.line())
