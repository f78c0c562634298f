"""The commands of the pages run as they stand, and those of `altclip-server` are ones that it takes.

The latter are all that there is to run in docs/http-clients.md and docs/evaluation.md without other products
and published data.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from demo import pictures
from service.config import command_line
from service.config.keys import make_key
from tests.docs.pages import PAGES, ROOT, examples, for_server, run
from tests.server import RunningServer

# On this machine or in a container, whose image is called as the command is.
OF_THE_SERVER = re.compile(r"(?:docker run .* )?(?:\.venv/bin/)?altclip-server(?::[\w.-]+)?(?= |$)")
SERVER_COMMANDS = [
    (f"{example.page}: {line}", OF_THE_SERVER.sub("altclip-server", line))
    for page in dict.fromkeys(PAGES)
    for example in examples(str(page.relative_to(ROOT)), "sh")
    for line in example.code.replace("\\\n", "").splitlines()
    if OF_THE_SERVER.match(line)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (cat,) = [each for each in pictures.load() if each.names["en"] == "cat"]
    (tmp_path / "cat.png").write_bytes(cat.path.read_bytes())
    return tmp_path


def of(page: str, language: str, word: str) -> str:
    """The example of a page that has this word."""
    (found,) = [each.code for each in examples(page, language) if word in each.code]
    return found


def shell(code: str, server: RunningServer, folder: Path, program: str) -> str:
    """What the commands print; skips where the program is missing."""
    beside = shutil.which(program, path=str(Path(sys.executable).parent))
    if not (beside or shutil.which(program)):
        pytest.skip(f"{program} is not installed")
    quiet = for_server(re.sub(r"^curl ", "curl -s ", code, flags=re.MULTILINE), server)
    return run(["bash", "-euc", quiet], folder)


def answers(told: str) -> list[Any]:
    """The JSON documents in a text, one after the other."""
    decoder, found = json.JSONDecoder(), []
    while told := told.strip():
        answer, end = decoder.raw_decode(told)
        found.append(answer)
        told = told[end:]
    return found


def test_the_front_page_s_grpcurl_embeds(server: RunningServer, folder: Path) -> None:
    (answer,) = answers(shell(of("README.md", "sh", "grpcurl"), server, folder, "grpcurl"))
    assert answer["embeddings"]["count"] == 1


def test_the_front_page_s_curl_embeds(server: RunningServer, folder: Path) -> None:
    (answer,) = answers(shell(of("README.md", "sh", "curl localhost"), server, folder, "curl"))
    assert [each["object"] for each in answer["data"]] == ["embedding"]


def test_the_curls_of_http_embed_upload_and_classify(server: RunningServer, folder: Path) -> None:
    (curls,) = examples("docs/http.md", "sh")
    embedded, uploaded, classified = answers(shell(curls.code, server, folder, "curl"))
    assert len(embedded["data"]) == len(uploaded["data"]) == 2
    (result,) = classified["results"]
    assert max(result["labels"], key=lambda each: float(each["probability"]))["label"] == "cat"


def test_an_error_over_http_has_the_form_that_the_page_shows(server: RunningServer) -> None:
    (shown,) = (json.loads(example.code) for example in examples("docs/http.md", "json"))
    items = ["a", "b", "c", {"image_url": "data:image/png;base64,AAAA"}]
    request = urllib.request.Request(
        f"http://{server.http}/v1/embeddings",
        json.dumps({"input": items}).encode(),
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        told = json.loads(answer.read())
    assert told.keys() == shown.keys()
    assert told["error"].keys() == shown["error"].keys()
    same = ("type", "param", "code")
    assert [told["error"][name] for name in same] == [shown["error"][name] for name in same]


def test_a_batch_file_of_openai_is_answered(server: RunningServer, folder: Path) -> None:
    body = {"model": "bundled", "input": "a cat"}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body}
    (folder / "batch.jsonl").write_text(f"{json.dumps(line)}\n")
    run(shlex.split(for_server(of("docs/bulk.md", "sh", "openai"), server)), folder)
    (answer,) = answers((folder / "answers" / "output.jsonl").read_text())
    assert answer["custom_id"] == "a"


def test_a_key_is_made_and_its_file_is_read(tmp_path: Path) -> None:
    make, serve = of("docs/deployment.md", "sh", "key search").splitlines()
    run(["bash", "-euc", make], tmp_path)
    (line,) = (tmp_path / "keys.txt").read_text().splitlines()
    assert "models=m9" in line
    assert shlex.split(serve)[1:] == ["--api-keys", "keys.txt"]


def test_a_client_with_tracing_is_made_as_the_page_makes_it(server: RunningServer, tmp_path: Path) -> None:
    (example,) = examples("docs/tracing.md", "python")
    code = f"{for_server(example.code, server)}\nprint(client.health())"
    assert run([sys.executable, "-c", code], tmp_path) == "SERVING\n"


@pytest.mark.parametrize(
    "line", [line for _, line in SERVER_COMMANDS], ids=[name for name, _ in SERVER_COMMANDS]
)
def test_a_command_that_starts_a_service_is_one_that_it_takes(line: str, tmp_path: Path) -> None:
    words = shlex.split(line, comments=True)[1:]
    if words[:1] == ["convert"]:
        assert len(words) == 3
    elif words[:1] == ["key"]:
        _, name, *limits, _ = shlex.split(re.sub(r">+\s*", "", line), comments=True)[1:]
        make_key(name, tuple(limits))  # raises for what it does not take
    else:
        command_line.load(words, {})  # raises for what it does not take


def test_the_command_of_the_runbook_shows_the_memory_of_each_process(
    server: RunningServer, tmp_path: Path
) -> None:
    (example,) = examples("docs/runbooks.md", "sh")
    before, _, inside = example.code.partition(" -- ")
    assert before.split() == ["kubectl", "exec", "POD", "--container", "altclip"]
    ours = {process.pid: " ".join(process.cmdline()).strip() for process in server.processes()}
    told = {
        int(number): (int(size), title.strip())
        for number, size, title in re.findall(
            r"^ *(\d+) +(\d+) MiB  (.*)$", run(["bash", "-euc", inside], tmp_path), re.MULTILINE
        )
    }
    assert {title.split()[0] for title in ours.values()} >= {"altclip-worker", "altclip-frontend"}
    for number, name in ours.items():
        size, title = told[number]
        assert size > 0
        assert title == name
