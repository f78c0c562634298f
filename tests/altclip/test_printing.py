"""What the command line shows can be shown in every locale, and does nothing to a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from altclip.printing import json_text, legible, table
from tests.altclip.fake_service import RunningFake
from tests.altclip.scripts import Done, command

# Clears the screen, sets the title, turns the direction, and ends a line in the ways that terminals know.
HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b1m\u202eb\u2066c\x08\x7f\u2028d\x00\ufeff\r"


def run(fake: RunningFake, *arguments: str | bytes | Path, **options: Any) -> Done:
    return command(fake.address, *arguments, **options)


def run_alone(fake: RunningFake, *arguments: str, given: bytes = b"", **environment: str) -> Any:
    """In a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "altclip", *arguments],
        env={**os.environ, "ALTCLIP_ADDRESS": fake.address, **environment},
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_nothing_is_left_that_a_terminal_obeys() -> None:
    shown = legible(HOSTILE, "utf-8")
    assert shown.isprintable()
    assert shown == (
        r"a\x1b[2J\x1b]0;title\x07\x9b1m\u202eb\u2066c\x08\x7f\u2028d\x00\ufeff\x0d"
    )  # fmt: skip


def test_scripts_and_emoji_stay_as_they_are() -> None:
    text = "cat 猫 قطة क्‍ष 👩‍🚀 ✓"
    assert legible(text, "utf-8") == text


def test_bytes_that_were_no_utf8_are_shown_as_bytes() -> None:
    assert legible(b"caf\xe9.png".decode("utf-8", "surrogateescape"), "utf-8") == r"caf\xe9.png"
    assert legible("\ud800", "utf-8") == r"\ud800"


def test_what_an_encoding_lacks_is_escaped() -> None:
    assert legible("café 猫 → ─ …", "ascii") == r"caf\xe9 \u732b -> - ..."
    assert legible("café 猫", "latin-1") == r"café \u732b"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_is_escaped_as_json_and_reads_back(encoding: str) -> None:
    value = {"text": f'{HOSTILE} 猫 👩‍🚀 \ud800 "\\', "list": [1.5, None]}
    written = json_text(value, encoding=encoding)
    assert not {unicodedata.category(each) for each in written} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(written) & set("\u202e\u2066\ufeff")
    assert json.loads(written.encode(encoding).decode(encoding)) == value


def test_columns_line_up_whatever_the_cells_hold() -> None:
    lines = table(("name", "n"), [(HOSTILE, "1"), ("猫", "2"), ("two\nlines", "3")])
    assert {line.rindex(n) for line, n in zip(lines[2:], "123", strict=True)} == {
        lines[2].rindex("1"),
        lines[2].rindex("1") - 1,
    }  # fmt: skip - a wide character is one in a string and two on the screen
    assert all("\n" not in line for line in lines)


COMMANDS: list[tuple[str, ...]] = [
    ("models",),
    ("models", "--json"),
    ("version",),
    ("health",),
    ("--help",),
    ("embed-text", "--help"),
    ("embed-text", "猫", "é"),
    ("embed-text", "猫", "é", "--json"),
    ("similarity", "--query", "猫", "--text", "é"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_output_works_in_an_ascii_locale(fake: RunningFake, arguments: tuple[str, ...]) -> None:
    done = run(fake, *arguments, encoding="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    done.stdout.decode("ascii")


def test_a_table_lines_up_in_an_ascii_locale(fake: RunningFake) -> None:
    done = run_alone(fake, "embed-text", "猫", "cat", PYTHONIOENCODING="ascii")
    lines = done.stdout.decode().splitlines()
    assert lines == [
        "text    tokens  embedding (4)",
        "------  ------  ---------------------------",
        r"\u732b  1       +1.000 +1.000 +2.000 +3.000",
        "cat     3       +3.000 +1.000 +2.000 +3.000",
    ]


def test_hostile_texts_and_file_names_reach_no_terminal(fake: RunningFake, tmp_path: Path) -> None:
    hostile = HOSTILE.replace("\x00", "")
    picture = tmp_path / f"cat{hostile.replace('/', '')}.png"
    picture.write_bytes(b"12345")
    for output in (
        run(fake, "embed-text", hostile).stdout,
        run(fake, "embed-text", hostile, "--json").stdout,
        run(fake, "embed-image", picture).stdout,
        run(fake, "embed-image", tmp_path / f"missing{hostile}").stderr,
        run(fake, "classify", picture, "--labels", hostile).stdout,
        run(fake, "similarity", "--query-image", picture, "--text", hostile).stdout,
        run(fake, "models", hostile).stderr,
        run(fake, "embed-text", "a", "--encoding", hostile).stderr,
        run(fake, "models", "--model", hostile, "--address", "localhost:1", "--timeout", "1").stderr,
        run(fake, "embed-stream", given=json.dumps({"id": hostile, "text": "a"}).encode()).stdout,
    ):
        assert output
        assert all(line.isprintable() for line in output.decode().split("\n")), output


def test_file_names_that_are_no_utf8_can_be_shown(fake: RunningFake, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(name)).write_bytes(b"12345")
    assert rb"caf\xe9.png" in run(fake, "classify", name, "--labels", "a").stdout
    assert rb"caf\udce9.png" in run(fake, "classify", name, "--labels", "a", "--json").stdout
    assert json.loads(run(fake, "embed-image", name, "--json").stdout)["vectors"][0][0] == 5


def test_a_text_that_is_no_utf8_is_told_in_one_line(fake: RunningFake) -> None:
    done = run(fake, "embed-text", "fine", b"caf\xe9")
    assert done.returncode == 2
    assert done.stderr == (
        b"altclip: INVALID_REQUEST: texts[1]: not valid Unicode: a lone surrogate U+DCE9 at character 3, "
        b"as from bytes that are not UTF-8\n"
    )


def test_any_id_of_a_stream_comes_back(fake: RunningFake) -> None:
    ids = ["\ud800", "a\x1b[2J", None, {"\udfff": [1]}, "猫", 10**30]
    lines = [json.dumps({"id": each, "text": "\udc00" if each is None else "a"}) for each in ids]
    done = run_alone(fake, "embed-stream", given="\n".join(lines).encode(), PYTHONIOENCODING="ascii")
    answers = sorted(map(json.loads, done.stdout.splitlines()), key=lambda answer: answer["index"])
    assert [answer["id"] for answer in answers] == ids
    assert ["error" in answer for answer in answers] == [False, False, True, False, False, False]
    assert "not valid Unicode: a lone surrogate U+DC00" in answers[2]["error"]["message"]
    assert b"6 items in" in done.stderr


class TestOneLine:
    """What gRPC would say of its own is not shown."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--address", "localhost:1"), b"altclip: UNAVAILABLE: no server answers at localhost:1: "),
            (("--tls", "--timeout", "1"), b"altclip: DEADLINE_EXCEEDED: no answer from "),
        ],
    )
    def test_a_failure_is_one_line(self, fake: RunningFake, arguments: tuple[str, ...], said: bytes) -> None:
        self.check(run_alone(fake, "models", *arguments), said)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (
                ("--address", "http://localhost:1"),
                b"altclip: INVALID_REQUEST: address: give host:port",
            ),
            (("--root-certificates", "/nowhere.pem"), b"altclip: [Errno 2] No such file or directory: '/now"),
            (
                ("--root-certificates", "/dev/null"),
                b"altclip: INVALID_REQUEST: root_certificates: there",
            ),
        ],
    )
    def test_so_is_one_before_any_call(
        self, fake: RunningFake, arguments: tuple[str, ...], said: bytes
    ) -> None:
        self.check(run(fake, "models", *arguments), said)

    def check(self, done: Any, said: bytes) -> None:
        assert done.returncode in (2, 3)
        assert done.stdout == b""
        assert done.stderr.startswith(said)
        assert done.stderr.count(b"\n") == 1

    def test_a_key_that_cannot_be_sent(self, fake: RunningFake) -> None:
        done = run(fake, "models", ALTCLIP_API_KEY="se\ncret")
        said = b"altclip: INVALID_REQUEST: api_key: the key has a line break at position 2; is it one key?\n"
        assert (done.returncode, done.stderr) == (2, said)

    def test_a_user_may_ask_for_grpcs_own_lines(self, fake: RunningFake) -> None:
        done = run_alone(fake, "models", "--tls", "--timeout", "5", GRPC_VERBOSITY="INFO")
        assert b"ssl_transport_security" in done.stderr

    def test_standard_output_that_is_closed_is_told(self, fake: RunningFake) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "{sys.executable}" -m altclip models >&-'],
            env={**os.environ, "ALTCLIP_ADDRESS": fake.address},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (4, b"altclip: standard output is closed\n")
