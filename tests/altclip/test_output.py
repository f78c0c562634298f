"""An output file is written whole under the name that was given, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from altclip.npy import MatrixFile
from altclip.output import OutputError, OutputFile, whole_file
from tests.altclip.fake_service import Failure, FakeService, RunningFake
from tests.altclip.scripts import command
from tests.server import until


def start(fake: RunningFake, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """The command, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "altclip", *map(str, arguments)],
        env={**os.environ, "ALTCLIP_ADDRESS": fake.address},
        stdin=subprocess.PIPE,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestWholeFile:
    def test_the_name_is_the_one_that_was_given(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "vectors") as file:
            file.write(b"new")
            assert not (tmp_path / "vectors").exists()
        assert names(tmp_path) == {"vectors"}
        assert (tmp_path / "vectors").read_bytes() == b"new"

    def test_an_older_file_is_kept_when_the_block_fails(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"old")
        with contextlib.suppress(LookupError), whole_file(path) as file:
            file.write(b"new")
            raise LookupError
        assert names(tmp_path) == {"a"}
        assert path.read_bytes() == b"old"

    def test_permissions_are_those_of_the_older_file_or_of_the_umask(self, tmp_path: Path) -> None:
        older = tmp_path / "older"
        older.touch(mode=0o640)
        older.chmod(0o640)
        before = os.umask(0o027)
        try:
            for path in (older, tmp_path / "newer"):
                with whole_file(path) as file:
                    file.write(b"x")
        finally:
            os.umask(before)
        assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("older", "newer")] == [
            0o640,
            0o640,
        ]

    def test_a_link_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "far").mkdir()
        (tmp_path / "link").symlink_to("far/file")
        with whole_file(tmp_path / "link") as file:
            file.write(b"x")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "far" / "file").read_bytes() == b"x"

    def test_a_pipe_gets_the_content_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "pipe"
        os.mkfifo(path)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
        reader.start()
        matrix = MatrixFile(path)
        matrix.append(np.arange(3, dtype=np.float32))
        matrix.commit()
        reader.join(60)
        (tmp_path / "read.npy").write_bytes(got[0])
        np.testing.assert_array_equal(np.load(tmp_path / "read.npy"), [[0, 1, 2]])
        assert stat.S_ISFIFO(path.stat().st_mode)

    def test_an_error_of_another_file_is_not_the_outputs(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="other"), whole_file(tmp_path / "a"):
            (tmp_path / "other").read_bytes()
        assert names(tmp_path) == set()

    def test_a_descriptor_may_be_named(self, tmp_path: Path) -> None:
        reading, writing = os.pipe()
        with whole_file(Path(f"/dev/fd/{writing}")) as file:
            np.save(file, np.arange(3))
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            (tmp_path / "a.npy").write_bytes(pipe.read())
        assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
        with (tmp_path / "b").open("wb") as regular, whole_file(Path(f"/dev/fd/{regular.fileno()}")) as file:
            file.write(b"x")
        assert (tmp_path / "b").read_bytes() == b"x"

    @pytest.mark.parametrize(
        ("name", "said"),
        [("missing/a", "No such file or directory"), (".", "it is a folder"), ("file/a", "Not a directory")],
    )
    def test_a_place_that_cannot_be_is_told_before_the_work(
        self, tmp_path: Path, name: str, said: str
    ) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match=f"{tmp_path / name}: cannot be written: {said}"):
            OutputFile(tmp_path / name)

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_file_that_may_not_be_written_is_not_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch(mode=0o444)
        with pytest.raises(OutputError, match="no permission"):
            OutputFile(tmp_path / "a")

    def test_a_full_device_is_an_error(self) -> None:
        output = OutputFile(Path("/dev/full"))
        output.write(b"x")
        with pytest.raises(OutputError, match="/dev/full: cannot be written: No space left"):
            output.commit()
        assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)

    def test_a_disk_that_fills_up_leaves_nothing(self, tmp_path: Path) -> None:
        code = f"""
import resource, signal
from pathlib import Path
from altclip.output import OutputError, whole_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    with whole_file(Path({str(tmp_path / "a")!r})) as file:
        for _ in range(100):
            file.write(bytes(1000))
except OutputError as error:
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == f"{tmp_path / 'a'}: cannot be written: File too large\n"
        assert names(tmp_path) == set()


class TestKeep:
    def matrix(self, path: Path) -> MatrixFile:
        matrix = MatrixFile(path)
        matrix.append(np.ones(2, np.float32))
        return matrix

    def test_what_there_is_gets_the_name_where_no_file_has_it(self, tmp_path: Path) -> None:
        assert self.matrix(tmp_path / "a").keep() == (1, tmp_path / "a")
        np.testing.assert_array_equal(np.load(tmp_path / "a"), [[1, 1]])

    def test_an_older_file_keeps_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"old")
        assert self.matrix(tmp_path / "a").keep() == (1, tmp_path / "a.partial")
        assert (tmp_path / "a").read_bytes() == b"old"
        np.testing.assert_array_equal(np.load(tmp_path / "a.partial"), [[1, 1]])

    def test_no_rows_leave_no_file(self, tmp_path: Path) -> None:
        assert MatrixFile(tmp_path / "a").keep() == (0, None)
        assert names(tmp_path) == set()


class TestCommands:
    def test_a_missing_image_is_named_and_not_the_output(self, fake: RunningFake, tmp_path: Path) -> None:
        done = command(fake.address, "embed-image", tmp_path / "cat.png", "--output", tmp_path / "a")
        assert (done.returncode, names(tmp_path)) == (2, set())
        assert done.stderr.endswith(b"cat.png'\n")

    def test_the_output_has_the_name_that_was_given(self, fake: RunningFake, tmp_path: Path) -> None:
        done = command(fake.address, "embed-text", "cat", "--output", tmp_path / "vectors")
        assert (done.returncode, names(tmp_path)) == (0, {"vectors"})
        np.testing.assert_array_equal(np.load(tmp_path / "vectors"), [[3, 1, 2, 3]])

    @pytest.mark.parametrize("arguments", [("embed-text", "cat"), ("embed-stream",)])
    def test_a_full_device_is_an_error_in_one_line(
        self, fake: RunningFake, arguments: tuple[str, ...]
    ) -> None:
        done = command(fake.address, *arguments, "--output", "/dev/full", given=b'{"text": "cat"}\n')
        assert done.returncode == 4
        assert done.stderr == b"altclip: /dev/full: cannot be written: No space left on device\n"

    def test_a_full_standard_output_is_an_error_in_one_line(self, fake: RunningFake) -> None:
        with Path("/dev/full").open("wb") as full:
            process = start(fake, "embed-text", "cat", stdout=full)
            _, complaint = process.communicate(timeout=60)
        said = b"altclip: standard output: cannot be written: No space left on device\n"
        assert (process.returncode, complaint) == (4, said)

    def test_a_wrong_place_costs_no_call(
        self, fake: RunningFake, service: FakeService, tmp_path: Path
    ) -> None:
        done = command(fake.address, "embed-text", "cat", "--output", tmp_path / "missing" / "a")
        assert b"cannot be written: No such file" in done.stderr
        assert (done.returncode, fake.service.seen["EmbedText"]) == (4, [])

    def test_a_run_that_fails_keeps_the_old_file(
        self, fake: RunningFake, service: FakeService, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.zeros((5, 4)))
        service.failures["EmbedText"] = [Failure(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")]
        assert command(fake.address, "embed-text", "a", "--output", path).returncode == 1
        service.stream_limit = 3
        service.failures["after"] = [Failure(grpc.StatusCode.INTERNAL, "INTERNAL")]
        done = command(fake.address, "embed-stream", "--output", path, given=b'{"text": "cat"}\n' * 9)
        assert done.returncode == 1
        assert done.stderr.splitlines()[0] == f"altclip: ended early: 3 rows are in {path}.partial".encode()
        assert np.load(path).shape == (5, 4)
        assert np.load(f"{path}.partial").shape == (3, 4)
        assert names(tmp_path) == {"a.npy", "a.npy.partial"}

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_a_signal_leaves_what_was_written(
        self, fake: RunningFake, tmp_path: Path, number: signal.Signals
    ) -> None:
        path = tmp_path / "a.npy"
        process = start(fake, "embed-stream", "--output", path)
        assert process.stdin is not None
        assert process.stdout is not None
        for row in range(7):
            process.stdin.write(json.dumps({"id": row, "text": "x" * row}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["row"] == row
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        _, complaint = process.communicate(timeout=60)
        assert complaint == f"altclip: ended early: 7 rows are in {path}\n".encode()
        assert np.load(path)[:, 0].tolist() == list(range(7))
        assert names(tmp_path) == {"a.npy"}

    def test_a_call_under_way_ends_with_the_signal(self, fake: RunningFake, tmp_path: Path) -> None:
        with fake.service.lock:  # the server cannot answer
            process = start(fake, "embed-text", "cat", "--output", tmp_path / "a")
            until(lambda: fake.service.arrived, seconds=60, what="the call is under way")
            assert names(tmp_path)
            process.terminate()
            assert process.wait(60) == 143
        assert process.communicate(timeout=60)[1] == b""
        assert names(tmp_path) == set()
