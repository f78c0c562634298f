"""The command `altclip-server`: serves; with `convert SOURCE DIRECTORY` makes safetensors of a pickle once,
with `key NAME` an API key.

Exit status: 0 after a drain; 1 where it could not start, gave up or cut calls off; 2 for unusable options;
128 and its number where a signal ended a conversion.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
import threading
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from altclip.version import VERSION
from service import standard_streams
from service.config import command_line
from service.config.keys import KeyFileError, make_key
from service.config.options import OptionError
from service.config.settings import Settings
from worker.errors import ModelChoiceError, ModelError
from worker.runtime import logs
from worker.runtime.control import entitle, leave, leave_no_core

__all__ = ["main", "make_absolute"]

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""What ends a command that does not serve."""
CLEANUP_SECONDS = 10.0
"""How long a conversion that was ended may take to remove what is unfinished."""
FOLDERS = ("PYTHONPATH", "SSL_CERT_DIR")
FILES = (
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "SSL_CERT_FILE",
    *(
        f"OTEL_EXPORTER_OTLP_{traces}{kind}"
        for traces in ("", "TRACES_")
        for kind in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    ),
)


def main() -> int:
    """Entry point."""
    closed = standard_streams.open_closed()
    standard_streams.escape_unknown()
    arguments = sys.argv[1:]
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing phones home
    try:
        if arguments[:1] == ["convert"]:
            return _convert(arguments[1:])
        if arguments[:1] == ["key"]:
            return _key(arguments[1:], closed)
        if arguments[:1] == ["serve"]:
            del arguments[0]
        if {"-h", "--help", "--version"} & set(arguments):
            command_line.parser(VERSION).parse_args(arguments)
        settings = command_line.load(arguments, os.environ)
    except OptionError as error:
        print(f"altclip-server: {error}", file=sys.stderr)
        return 2
    return _serve(settings)


def _serve(settings: Settings) -> int:
    entitle("altclip-server")
    leave_no_core()
    logs.configure(settings.log_level, "altclip-server")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # not a JSON line
    make_absolute(os.environ)
    events = logs.get("supervisor")
    _raise_descriptor_limit()
    for message in command_line.unknown_variables(os.environ):
        events.warning("unknown_setting", message)
    # Until the event loop takes over, e.g. while a model is fetched. As process 1 of a container these would
    # be ignored by default; elsewhere the three below would end the server, and there is nothing to reread.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, _stop)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)
    try:
        return asyncio.run(_run(settings))
    except (OptionError, ModelChoiceError) as error:
        events.error("cannot_start", str(error))
        return 2
    except ModelError as error:
        events.error("cannot_start", str(error))
        return 1


def make_absolute(environment: MutableMapping[str, str]) -> None:
    """Paths in variables that libraries read: child processes run in another directory."""
    for name in FOLDERS:
        if paths := environment.get(name):
            environment[name] = os.pathsep.join(map(os.path.abspath, paths.split(os.pathsep)))
    for name in FILES:
        if path := environment.get(name):
            environment[name] = str(Path(path).absolute())


async def _run(settings: Settings) -> NoReturn:
    from service.supervisor.startup import prepare

    supervisor = prepare(settings, VERSION)
    # At once: Python would wait for a thread that looks at a file whose disk no longer answers.
    leave(await supervisor.run())


def _raise_descriptor_limit() -> None:
    """As high as may be: every client, process and link takes descriptors, and 1,024 are soon gone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop(number: int, frame: object) -> NoReturn:
    """At once: a download goes on in threads that Python would wait for, and the next one resumes it."""
    os._exit(1 if number == signal.SIGQUIT else 0)


def _give_up(number: int, frame: object) -> NoReturn:
    """What is unfinished is removed on the way out. A second signal ends at once."""
    status = 128 + number
    for each in ENDING:
        if signal.getsignal(each) is _give_up:
            signal.signal(each, lambda number, frame: os._exit(128 + number))
    # A download goes on in threads that Python would wait for.
    overdue = threading.Timer(CLEANUP_SECONDS, os._exit, (status,))
    overdue.daemon = True
    overdue.start()
    with suppress(OSError):  # standard error itself may be in the middle of a line
        os.write(2, f"altclip-server: ended by {signal.Signals(number).name}\n".encode())
    sys.exit(status)


def _convert(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="altclip-server convert",
        description="Convert a pickle checkpoint to safetensors once, with checksums; serving loads "
        "safetensors only. The checkpoint is read without running any code of it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a directory, or a hub name such as BAAI/AltCLIP (@REVISION pins it)"
    )
    where = "where to write: missing, empty, or an earlier conversion, which is replaced"
    parser.add_argument("directory", metavar="DIRECTORY", help=where)
    parser.add_argument(
        "--keep",
        action="store_true",
        help="do nothing where DIRECTORY already holds what this version made of SOURCE, a hub name with its "
        "@REVISION",
    )
    given = parser.parse_args(arguments)
    # As process 1 of a container most of these would be ignored; elsewhere what is unfinished would be left.
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _give_up)
    from worker.models.convert import convert

    try:
        print(convert(given.source, given.directory, keep=given.keep), flush=True)
    except ModelError as error:
        problem = str(error)
    except OSError as error:  # a full disk, a directory that may not be written, a closed pipe
        problem = f"{error.filename or 'standard output'}: {error.strerror}"
    else:
        return 0
    print(f"altclip-server: {problem}", file=sys.stderr)
    return 1


def _key(arguments: Sequence[str], closed: frozenset[int]) -> int:
    parser = argparse.ArgumentParser(
        prog="altclip-server key",
        description="Make an API key. Its line for the file of --api-keys goes to standard output and holds "
        "only a hash; the key itself is shown once, on standard error. "
        "`altclip-server key search requests=20/s models=m9 >> keys.txt` appends it.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="the caller's name in logs and metrics")
    parser.add_argument(
        "limits",
        metavar="LIMIT",
        nargs="*",
        help="requests=20/s, items=500/s (also /m, /h), concurrency=8, models=NAME,NAME; without: no limit",
    )
    given = parser.parse_args(arguments)
    try:
        key, line = make_key(given.name, tuple(given.limits))
    except KeyFileError as error:
        print(f"altclip-server: {error}", file=sys.stderr)
        return 2
    if closed & {1, 2}:
        problem = "standard output, for the hash, and standard error, for the key, must both be open"
    elif standard_streams.same_file(1, 2) and not os.isatty(2):
        problem = (
            "standard output and standard error are the same file, and the key must not stand where its hash "
            "belongs; send them to different places"
        )
    else:
        return _show(key, line)
    print(f"altclip-server: no key was made: {problem}", file=sys.stderr)
    return 1


def _show(key: str, line: str) -> int:
    """The key first: a line whose key nobody has seen would be of no use."""
    try:
        print(f"The key, which is not shown again: {key}", file=sys.stderr, flush=True)
        print(line, flush=True)
    except OSError as error:
        problem = f"its line could not be written, so the key is of no use: {error.strerror}"
        print(f"altclip-server: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
