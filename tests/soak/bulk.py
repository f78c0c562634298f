"""`python -m tests.soak.bulk`: bulk jobs whose client is killed twenty times and whose server now and then;
their outputs must be those of undisturbed runs, file by file to the last bit. Exit status 1 where one is
not."""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from tests.altclip.bulk.outputs import digests, json_lines, manifest, parts_in, running, texts
from tests.server import RunningServer, free_port, start_server, until

__all__ = ["Outcome", "main"]

KILLS, SERVER_KILLS = 20, 5
# However fast the machine: twenty seconds for the texts, and six for the images.
TEXTS = "stub:dimension=64,per_item=0.0001"
IMAGES = "stub:dimension=64,image_size=32,per_item=0.002"
WAIT_SECONDS = 600.0


@dataclass(frozen=True)
class Outcome:
    """What became of a job. kills: of the client. seconds: of all its runs together, starts included."""

    what: str
    rows: int
    parts: int
    kills: int
    server_kills: int
    undisturbed_seconds: float
    seconds: float
    differing: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether the output is that of the undisturbed run."""
        return not self.differing and self.kills == KILLS and self.server_kills == SERVER_KILLS


class Servers:
    """A service on one port that can be killed and started anew."""

    def __init__(self, stack: ExitStack, source: str) -> None:
        self._stack = stack
        self._arguments = ("--model", source, "--grpc-address", f"127.0.0.1:{free_port()}")
        self.running = self._start()

    def kill(self) -> None:
        """SIGKILL of the supervisor, and another one in its place."""
        self.running.kill()
        self.running = self._start()

    def _start(self) -> RunningServer:
        return self._stack.enter_context(start_server(*self._arguments))


def disturb(what: str, source: str, given: Path, folder: Path, size: int, chance: random.Random) -> Outcome:
    """One job with its kills, after an undisturbed one."""
    with ExitStack() as stack:
        servers = Servers(stack, source)
        command = ("--rows-per-shard", size)

        def whole(out: Path) -> float:
            started = time.monotonic()
            with running(servers.running.grpc, given, out, *command) as process:
                _, err = process.communicate(timeout=WAIT_SECONDS)
            assert process.returncode == 0, err
            return time.monotonic() - started

        calm, out = folder / f"{what}-calm", folder / f"{what}-out"
        undisturbed_seconds = whole(calm)
        count = len(manifest(calm)["parts"])
        started = time.monotonic()
        # In every fourth run the server is killed, too, and the client goes on with the new one.
        server_kills = 0
        for kill in range(KILLS):
            with running(servers.running.grpc, given, out, *command) as process:
                _until_parts(out, kill * count // (KILLS + 6), process)
                time.sleep(chance.uniform(0, 0.3))
                if kill % (KILLS // SERVER_KILLS) == 1:
                    servers.kill()
                    server_kills += 1
                    _until_parts(out, parts_in(out), process)
                process.kill()
                assert process.wait() == -signal.SIGKILL, "the run had ended before it was killed"
        assert parts_in(out) < count, "the kills came too late"
        whole(out)
        seconds = time.monotonic() - started
    wanted, found = digests(calm), digests(out)
    differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    rows = int(manifest(out)["rows"])
    return Outcome(what, rows, count, KILLS, server_kills, undisturbed_seconds, seconds, differing)


def _until_parts(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    until(
        lambda: parts_in(out) > count or process.poll() is not None,
        seconds=WAIT_SECONDS,
        what=f"more than {count} parts",
    )


def pictures(folder: Path, count: int) -> Path:
    """So many distinct small JPEG files."""
    generator = np.random.default_rng(0)
    for number in range(count):
        buffer = io.BytesIO()
        noise = generator.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).resize((96, 64)).save(buffer, "JPEG")
        file = folder / f"{number % 10}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buffer.getvalue())
    return folder


def outcomes(rows: int, images: int, seed: int) -> Iterator[Outcome]:
    """Of both jobs."""
    chance = random.Random(seed)
    with TemporaryDirectory(prefix="bulk-soak-") as name:
        folder = Path(name)
        given = json_lines(folder / "texts.jsonl", texts(rows))
        yield disturb("texts", TEXTS, given, folder, max(1, rows // 200), chance)
        given = pictures(folder / "pictures", images)
        yield disturb("images", IMAGES, given, folder, max(1, images // 60), chance)


def main() -> int:
    """Writes build/soak/bulk.json."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.bulk", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="texts (default: 200000)")
    parser.add_argument("--images", type=int, default=3_000, help="images (default: 3000)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--folder", type=Path, default=Path("build/soak"), help="where the report goes")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order, so that the server is stopped, too
    found = []
    for outcome in outcomes(arguments.rows, arguments.images, arguments.seed):
        found.append(outcome)
        told = "as undisturbed" if outcome.holds else f"differs: {', '.join(outcome.differing[:5])}"
        print(
            f"{outcome.what}: {outcome.rows:,} rows in {outcome.parts} parts, {outcome.kills} kills of the "
            f"client, {outcome.server_kills} of the server: {told}; {outcome.seconds:.0f} s instead of "
            f"{outcome.undisturbed_seconds:.0f} s"
        )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    report = [asdict(outcome) for outcome in found]
    (arguments.folder / "bulk.json").write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(outcome.holds for outcome in found) else 1


if __name__ == "__main__":
    sys.exit(main())
