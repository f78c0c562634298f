"""docs/evaluation.md: its scripts run on small files of the form of their sources, and its commands parse."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from altclip.arguments import parser
from altclip.datasets.class_names import read_templates
from altclip.datasets.dataset import Request
from altclip.datasets.table import read_table
from tests.server import RunningServer

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


def script(name: str) -> str:
    (found,) = re.findall(rf"```python\n(# {re.escape(name)}.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def run(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script(name), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_pairs_become_one_table(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text(
        "image,caption\na.jpg,Two dogs, running\na.jpg,two dogs\nb.jpg,A cat .\n"
    )
    (tmp_path / "zh.txt").write_text("a.jpg,两只狗，在跑\nb.jpg,一只猫\n")  # without a header, as XTD's
    done = run("pairs.py", "out.csv", "en=en.txt", "zh=zh.txt", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    dataset = read_table(Request(tmp_path / "out.csv", known=("en", "zh")))
    captions = {
        language: [(dataset.pictures[each.picture].name, each.text.text) for each in found]
        for language, found in dataset.captions.items()
    }
    assert captions == {
        "en": [("a.jpg", "Two dogs, running"), ("a.jpg", "two dogs"), ("b.jpg", "A cat .")],
        "zh": [("a.jpg", "两只狗，在跑"), ("b.jpg", "一只猫")],
    }


def test_a_line_that_is_no_pair_is_named(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("a.jpg,A dog\nno picture here\n")
    done = run("pairs.py", "out.csv", "en=en.txt", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "en.txt line 2: not `name.jpg,caption`\n")


def test_names_and_templates_come_out_of_the_wheel(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "their.whl", "w") as wheel:
        for code in ("en", "cn", "jp", "it", "ar"):
            names = {"imagenet1k": [f"tench {code}", f"goldfish {code}"], "cars": []}
            templates = {"imagenet1k": [f"{code} {{c}}."]}
            wheel.writestr(f"clip_benchmark/datasets/{code}_classnames.json", json.dumps(names))
            wheel.writestr(
                f"clip_benchmark/datasets/{code}_zeroshot_classification_templates.json",
                json.dumps(templates),
            )
    done = run("names.py", "their.whl", "names", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "names" / "classnames_zh.txt").read_text() == "tench cn\ngoldfish cn\n"
    file = tmp_path / "names" / "zeroshot_classification_templates_ja.txt"
    found = read_templates(tmp_path / "none", Request(tmp_path, templates={"ja": file}))
    assert found == {"ja": ["jp {}."]}


def test_the_two_cats_are_asked_for_as_the_service_wants_it(server: RunningServer, tmp_path: Path) -> None:
    from demo import pictures

    cat = next(each for each in pictures.load() if each.names["en"] == "cat")
    (tmp_path / "000000039769.jpg").write_bytes(cat.path.read_bytes())
    code = (
        script("cats.py")
        .replace("localhost:50051", server.grpc)
        .replace('model="altclip"', 'model="bundled"')
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    scores = [float(each) for each in done.stdout.split()]
    assert sum(scores) == pytest.approx(1)
    # Another model gives other figures: the script says so, or is satisfied.
    assert "Traceback" not in done.stderr


def test_every_command_of_the_page_is_one_that_there_is() -> None:
    commands = re.findall(r"^altclip evaluate .*?(?<!\\)$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        words = shlex.split(re.sub(r"\$\(.*|#.*", "", command.replace("\\\n", " "), flags=re.DOTALL))
        assert parser().parse_args(words[1:]).data.name == words[2]
