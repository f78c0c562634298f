"""The `altclip` command: what it prints, and what its exit status says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from altclip.cli import main
from altclip.v1 import embedding_service_pb2 as pb
from altclip.version import VERSION, mismatch
from tests.altclip.fake_service import Failure, FakeService, RunningFake
from tests.altclip.scripts import command

Run = Any


@pytest.fixture
def run(fake: RunningFake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process; gives its exit status, output and complaints."""
    monkeypatch.setenv("ALTCLIP_ADDRESS", fake.address)

    def one(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return one


def start(fake: RunningFake, *arguments: str | bytes, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "altclip", *arguments],
        env={**os.environ, "ALTCLIP_ADDRESS": fake.address, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    path.write_bytes(b"12345")
    return path


def test_texts_are_shown_in_a_table_that_lines_up(run: Run) -> None:
    status, output, _ = run("embed-text", "cat", "红气球", "it is long")
    assert status == 0
    assert output.splitlines() == [
        "text        tokens  embedding (4)",
        "──────────  ──────  ────────────────────────────",
        "cat         3       +3.000 +1.000 +2.000 +3.000",
        "红气球      3       +3.000 +1.000 +2.000 +3.000",
        "it is long  10!     +10.000 +1.000 +2.000 +3.000",
        "! cut to the model's limit",
    ]


def test_texts_in_json_are_the_numbers_themselves(run: Run) -> None:
    status, output, _ = run("embed-text", "cat", "--json")
    answer = json.loads(output)
    assert (status, answer["vectors"], answer["token_counts"]) == (0, [[3.0, 1.0, 2.0, 3.0]], [3])
    assert answer["revision"] == "0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (b"one\ntwo words\n", ["one", "two words"]),
        (b"\xef\xbb\xbfcat\n", ["cat"]),
        (b"cat\r\ndog\r\n", ["cat", "dog"]),
        (b"cat\n\ndog", ["cat", "", "dog"]),
        (b"\xef\xbb\xbfcat\n\xef\xbb\xbfdog\n", ["cat", "dog"]),  # two files, joined by `cat`
        ("a\u2028b\x0cc\x85d\re\n".encode(), ["a\u2028b\x0cc\x85d\re"]),
    ],
)
def test_texts_come_from_standard_input(
    fake: RunningFake, service: FakeService, given: bytes, texts: list[str]
) -> None:
    done = command(fake.address, "embed-text", given=given)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(service.seen["EmbedText"][0].texts) == texts


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_texts_from_standard_input_are_utf8_in_any_locale(
    fake: RunningFake, service: FakeService, locale: str
) -> None:
    process = start(fake, "embed-text", LC_ALL=locale, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    _, complaint = process.communicate("\ufeffcat\nüber\u2028b\x85\n猫".encode(), timeout=60)
    assert (process.returncode, complaint) == (0, b"")
    assert list(service.seen["EmbedText"][0].texts) == ["cat", "über\u2028b\x85", "猫"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"cat\ncaf\xe9\n", b"altclip: standard input line 2: not UTF-8\n"),
        ("cat\n".encode("utf-16"), b"altclip: standard input line 1: not UTF-8, but UTF-16\n"),
    ],
)
def test_input_that_is_no_utf8_is_named_by_its_line(fake: RunningFake, given: bytes, said: bytes) -> None:
    assert command(fake.address, "embed-text", given=given) == (2, b"", said)


def test_embeddings_are_written_as_a_matrix(run: Run, tmp_path: Path, picture: Path) -> None:
    path = tmp_path / "out.npy"
    assert run("embed-image", picture, picture, "--output", path)[0] == 0
    np.testing.assert_array_equal(np.load(path), [[5, 4, 5, 6]] * 2)


def test_a_comparison_names_both_sides(run: Run, picture: Path) -> None:
    status, output, _ = run(
        "similarity", "--query-image", picture, "--query", "a cat", "--text", "b", "--image", picture
    )
    assert status == 0
    assert [line.split() for line in output.splitlines()[2:]] == [
        ["cat.png", "b", "0.0000"],
        ["cat.png", "1.0000"],
        ["a", "cat", "b", "10.0000"],
        ["cat.png", "11.0000"],
    ]


def test_pictures_are_turned_upright_on_request(
    fake: RunningFake, service: FakeService, run: Run, picture: Path
) -> None:
    run("embed-image", picture, "--orientation", "upright")
    run("classify", picture, "--labels", "a", "--orientation", "upright")
    run("similarity", "--query-image", picture, "--text", "a", "--orientation", "upright")
    line = json.dumps({"image": str(picture)}).encode()
    command(fake.address, "embed-stream", "--orientation", "upright", given=line)
    seen = service.seen
    assert seen["EmbedImage"][0].options.orientation == pb.ORIENTATION_UPRIGHT
    assert seen["ClassifyImage"][0].orientation == pb.ORIENTATION_UPRIGHT
    assert seen["Similarity"][0].orientation == pb.ORIENTATION_UPRIGHT
    assert seen["EmbedStream"][0].config.options.orientation == pb.ORIENTATION_UPRIGHT


def test_classes_come_with_their_probabilities(run: Run, picture: Path) -> None:
    status, output, _ = run("classify", picture, "--labels", "猫", "狗", "--language", "zh")
    assert (status, output.splitlines()[2].split()) == (0, ["cat.png", "猫", "50.0%"])
    answer = json.loads(run("classify", picture, "--labels", "猫", "狗", "--json")[1])
    assert answer["results"][0]["labels"][1] == {"label": "狗", "index": 1, "probability": 0.5}


def test_models_and_health_are_told(run: Run, fake: RunningFake) -> None:
    assert run("models")[1].splitlines()[2].split()[:3] == ["first", "yes", "bundled"]
    assert run("models")[1].splitlines()[2].split()[-1] == "first-clip"
    assert json.loads(run("models", "--json")[1])[1]["limits"]["max_texts"] == 50
    assert run("health", "--wait", "60")[:2] == (0, "SERVING\n")
    fake.health.set("altclip.v1.EmbeddingService", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert run("health")[:2] == (3, "NOT_SERVING\n")


def test_both_versions_are_told_and_a_warning_where_they_do_not_fit(
    run: Run, fake: RunningFake, service: FakeService
) -> None:
    assert run("version") == (0, f"client {VERSION}\nserver {VERSION} at {fake.address}\n", "")
    assert json.loads(run("version", "--json")[1]) == {"client": VERSION, "server": VERSION}
    service.version = "99.1.0"
    status, output, complaint = run("version")
    assert (status, output) == (0, f"client {VERSION}\nserver 99.1.0 at {fake.address}\n")
    assert complaint == f"altclip: {mismatch('99.1.0')}\n"
    service.version = ""
    assert run("version")[2] == f"altclip: {mismatch('')}\n"


class TestFailures:
    def test_a_refusal_is_one_line(self, run: Run, service: FakeService) -> None:
        service.failures["EmbedText"] = [
            Failure(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "no model\n'x'")
        ]
        status, output, complaint = run("embed-text", "a", "--model", "x")
        assert (status, output) == (1, "")
        assert complaint.startswith("altclip: MODEL_NOT_FOUND: no model 'x' [request ")
        assert complaint.count("\n") == 1

    def test_overload_and_a_closing_server_say_to_come_again(self, run: Run, service: FakeService) -> None:
        full = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.5, pushback_ms="-1")
        service.failures["EmbedText"] = [full]
        status, _, complaint = run("embed-text", "a")
        assert status == 3
        assert "try again in 0.5 s" in complaint
        service.failures["EmbedText"] = [Failure(grpc.StatusCode.CANCELLED, pushback_ms="-1")]
        assert run("embed-text", "a")[0] == 3

    def test_a_missing_file_is_named(self, run: Run) -> None:
        status, _, complaint = run("embed-image", "/nowhere/cat.png")
        assert (status, "/nowhere/cat.png" in complaint) == (2, True)

    def test_a_comparison_needs_both_sides(self, run: Run) -> None:
        status, _, complaint = run("similarity", "--query", "a")
        assert (status, "--text or --image" in complaint) == (2, True)

    def test_wrong_usage_is_explained(self, run: Run) -> None:
        with pytest.raises(SystemExit) as left:
            run("classify", "x.png")
        assert left.value.code == 2

    @pytest.mark.parametrize(
        ("option", "value", "said"),
        [("--timeout", value, "a time in seconds above 0") for value in ("nan", "-1", "0", "soon")]
        + [("--address", value, "give HOST:PORT") for value in ("", " ")],
    )
    def test_what_cannot_be_used_is_wrong_usage(
        self, run: Run, capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
    ) -> None:
        with pytest.raises(SystemExit) as left:
            run("models", f"{option}={value}")
        assert left.value.code == 2
        assert said in capsys.readouterr().err

    def test_no_limit_is_a_time_too(self, run: Run) -> None:
        assert run("models", "--timeout", "inf")[0] == 0


@pytest.mark.parametrize(
    "command", ["", "embed-text", "embed-image", "similarity", "classify", "embed-stream"]
)
def test_help_is_there(run: Run, capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as left:
        run(*command.split(), "--help")
    assert left.value.code == 0
    assert "usage: altclip" in capsys.readouterr().out


class TestStream:
    LINES = b'{"id": "a", "text": "one"}\n{"id": 7, "text": "poison"}\nnonsense\n{"text": "four"}\n'

    def test_each_line_has_its_answer(self, fake: RunningFake) -> None:
        done = command(fake.address, "embed-stream", given=self.LINES)
        answers = {line["index"]: line for line in map(json.loads, done.stdout.splitlines())}
        assert answers[0] == {"id": "a", "index": 0, "vector": [3.0, 1.0, 2.0, 3.0], "token_count": 3}
        assert (answers[1]["id"], answers[1]["error"]["reason"]) == (7, "TEXT_TOO_LONG")
        assert answers[2]["error"]["reason"] == "UNREADABLE_INPUT"
        assert answers[3]["vector"][0] == 4
        assert b"4 items in" in done.stderr
        assert (done.returncode, b"2 failed" in done.stderr) == (1, True)

    def test_a_line_that_is_none_is_told_in_plain_words(self, fake: RunningFake) -> None:
        said = {
            b"[]": 'a line is {"id": ',
            b"null": 'a line is {"id": ',
            b'{"id": 1, "text": 5}': 'a line is {"id": ',
            '{"text": "é"}'.encode("latin-1"): "standard input line 4: not UTF-8",
            '{"text": "a"}'.encode("utf-16"): "standard input line 5: not UTF-8, but UTF-16",
            b"[" * 100_000: "recursion",
        }
        done = command(fake.address, "embed-stream", given=b"\n".join(said))
        answers = sorted(map(json.loads, done.stdout.splitlines()), key=lambda answer: answer["index"])
        for expected, answer in zip(said.values(), answers, strict=True):
            assert expected in answer["error"]["message"]
        assert answers[2]["id"] == 1
        assert b"6 failed" in done.stderr

    def test_lines_without_anything_are_no_items(self, fake: RunningFake) -> None:
        done = command(fake.address, "embed-stream", given=b'\n{"text": "one"}\r\n \r\n\n')
        assert (done.returncode, len(done.stdout.splitlines()), b"1 items in" in done.stderr) == (0, 1, True)

    def test_vectors_go_to_a_matrix_and_rows_to_standard_output(
        self, fake: RunningFake, tmp_path: Path
    ) -> None:
        path = tmp_path / "out.npy"
        lines = "".join(json.dumps({"id": i, "text": "x" * i}) + "\n" for i in range(200)).encode()
        done = command(fake.address, "embed-stream", "--output", path, given=lines)
        matrix = np.load(path)
        assert matrix.shape == (200, 4)
        for line in map(json.loads, done.stdout.splitlines()):
            assert matrix[line["row"], 0] == line["id"]

    def test_answers_come_before_the_input_ends(self, fake: RunningFake) -> None:
        process = start(fake, "embed-stream")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"id": 1, "text": "x"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.communicate(timeout=60)
        assert process.returncode == 0

    def test_an_interrupt_ends_it_quietly(self, fake: RunningFake) -> None:
        process = start(fake, "embed-stream")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"id": 1, "text": "x"}\n')
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        _, complaint = process.communicate(timeout=60)
        assert complaint == b""

    def test_a_reader_that_leaves_ends_it_quietly(self, fake: RunningFake) -> None:
        process = start(fake, "embed-stream")
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b'{"id": 1, "text": "x"}\n' * 100)
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # it may have left already
            process.stdin.write(b'{"id": 1, "text": "x"}\n' * 100)
            process.stdin.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
        process.stderr.close()
