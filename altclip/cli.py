"""The `altclip` command: runs it, and tells its failures. `arguments.py` has its arguments.

Exit status: 0 done; 1 the server refused, or items of a stream failed; 2 wrong usage or unreadable input; 3
not ready, overloaded or out of time, so try again later; 4 the output cannot be written; 129, 130, 143 ended
by SIGHUP, SIGINT, SIGTERM; 141 the reader of the output has gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from altclip.errors import AltClipError

FAILED, WRONG_USAGE, TRY_LATER, NO_OUTPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 4, 130, 141


class Ended(KeyboardInterrupt):
    """A signal asked this process to end, as Ctrl-C does. What is open is closed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and gives the exit status; every failure is one line on standard error."""
    # gRPC writes lines of its own unless it is told before it is imported.
    if "grpc" not in sys.modules:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from altclip.arguments import clients_of, parser, tracing_of, words
    from altclip.errors import AltClipError
    from altclip.output import OutputError
    from altclip.printing import tell

    try:
        with _signals_that_end():
            parsed = parser().parse_args(words(sys.argv[1:] if arguments is None else arguments))
            with contextlib.ExitStack() as stack:
                stack.enter_context(tracing_of(parsed))
                clients = [stack.enter_context(client) for client in clients_of(parsed)]
                return int(parsed.run(clients if parsed.several else clients[0], parsed))
    except AltClipError as error:
        tell(f"altclip: {_one_line(error)}")
        return _status_of(error)
    except BrokenPipeError:
        _drop(sys.stdout)
        return BROKEN_PIPE
    except OutputError as error:
        tell(f"altclip: {_one_line(error)}")
        _drop(sys.stdout)
        return NO_OUTPUT
    except (OSError, ValueError) as error:
        tell(f"altclip: {_one_line(error)}")
        return WRONG_USAGE
    except Ended as ended:
        return ended.status
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):  # of the last lines that `tell` could not write
            _drop(sys.stderr)


def _status_of(error: AltClipError) -> int:
    from altclip.errors import (
        Cancelled,
        DeadlineExceeded,
        InvalidArgument,
        Overloaded,
        Unavailable,
        UnreadableInput,
    )

    if isinstance(error, InvalidArgument | UnreadableInput):
        return WRONG_USAGE
    passing = Unavailable | Overloaded | DeadlineExceeded | Cancelled  # the last by a server that went away
    return TRY_LATER if isinstance(error, passing) else FAILED


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _drop(stream: TextIO | None) -> None:
    """What Python still holds for this stream would fail again at exit, and end the process with 120."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def _signals_that_end() -> Iterator[None]:
    """In the block SIGHUP and SIGTERM raise `Ended`, unless they are ignored as under `nohup`. A second one
    ends the process at once."""

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Ended(number)

    ours = [each for each in (signal.SIGHUP, signal.SIGTERM) if signal.getsignal(each) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
