"""`altclip evaluate` against a service in this process that understands the pictures: figures, faults,
resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from altclip.bulk import embedding
from altclip.cli import main
from altclip.evaluate import chart
from tests.altclip.evaluate.evaluation_data import (
    CHINESE,
    ENGLISH,
    RunningSeeing,
    SeeingService,
    picture,
    write_captioned,
)
from tests.server import until

Run = Any
CAPTIONED = [(name, f"a {name}\nthe {name}") for name in ENGLISH]


def write_table(folder: Path, extra: str = "") -> Path:
    lines = ["image,en,zh"]
    for english, chinese in zip(ENGLISH, CHINESE, strict=True):
        (folder / f"{english}.jpg").write_bytes(picture(english))
        lines.append(f"{english}.jpg,a {english},一{chinese}")
    path = folder / "things.csv"
    path.write_text("\n".join(lines) + "\n" + extra)
    return path


def test_retrieval_over_a_webdataset(evaluate: Run, tmp_path: Path) -> None:
    write_captioned(tmp_path / "set", CAPTIONED)
    status, output, errors, found = evaluate(tmp_path / "set")
    assert status == 0
    (result,) = found["results"]
    assert (result["language"], result["images"], result["captions"]) == ("en", 7, 14)
    assert result["text_to_image"]["recall_at"] == {"1": 1.0, "5": 1.0, "10": None}  # there are seven images
    assert result["image_to_text"]["recall_at"] == {"1": 1.0, "5": 1.0, "10": 1.0}
    assert result["mean_recall"] == 1.0
    assert (found["task"], found["split"], found["model"]["revision"]) == (
        "retrieval",
        "test",
        "0123456789abcdef",
    )
    assert "text→image R@1" in output
    assert "100.0" in output
    assert "pictures: 7 of 7 (100%)" in errors
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_retrieval_in_two_languages_over_a_table(evaluate: Run, tmp_path: Path) -> None:
    status, output, _, found = evaluate(write_table(tmp_path))
    assert status == 0
    assert [result["language"] for result in found["results"]] == ["en", "zh"]
    assert all(result["mean_recall"] == 1.0 for result in found["results"])
    assert [line.split()[0] for line in output.splitlines()[4:8]] == ["─" * 8, "en", "zh", "mean"]
    status, output, _, found = evaluate(tmp_path / "things.csv", "--language", "zh", "--json")
    assert [result["language"] for result in found["results"]] == ["zh"]
    assert json.loads(output) == found


def test_a_caption_that_fits_another_picture_better_is_a_miss(evaluate: Run, tmp_path: Path) -> None:
    write_captioned(tmp_path / "set", [*CAPTIONED[:-1], ("moon", "a cat")])
    (result,) = evaluate(tmp_path / "set")[3]["results"]
    # "a cat" belongs to two pictures: of its two captions one is right, the other is not.
    assert result["text_to_image"]["recall_at"]["1"] == pytest.approx(12 / 13)
    assert result["image_to_text"]["undecided"]["1"] == 0


def test_nothing_is_embedded_twice(evaluate: Run, seeing_service: SeeingService, tmp_path: Path) -> None:
    path = write_table(tmp_path)
    evaluate(path, "--language", "en")
    assert len(seeing_service.embedded) == 14
    evaluate(path, "--language", "en")
    assert len(seeing_service.embedded) == 14
    evaluate(path)  # the captions in zh are new, the pictures are not
    assert len(seeing_service.embedded) == 21
    (tmp_path / "cat.jpg").write_bytes(picture("cat and moon"))
    path.write_text(path.read_text().replace("a dog", "one dog"))
    evaluate(path)
    assert sorted(seeing_service.embedded[21:]) == ["one dog", "picture:cat and moon"]


def test_an_evaluation_goes_on_where_it_was_interrupted(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_table(tmp_path)
    real = embedding.Service.check

    def interrupted(self: embedding.Service, revision: str) -> bool:
        if len(seeing_service.embedded) and next(calls) == 4:
            raise KeyboardInterrupt
        return real(self, revision)

    calls = iter(range(100))
    monkeypatch.setattr(embedding.Service, "check", interrupted)
    status, _, errors, found = evaluate(path)
    assert (status, found) == (130, None)
    assert "interrupted; the same command goes on from here" in errors
    monkeypatch.setattr(embedding.Service, "check", real)
    seeing_service.embedded.clear()
    status, _, errors, found = evaluate(path)
    assert status == 0
    assert found["results"][0]["mean_recall"] == 1.0
    # Four of the seven pictures were there already.
    assert len([each for each in seeing_service.embedded if each.startswith("picture:")]) == 3


def test_ctrl_c_ends_the_process_at_once_and_keeps_what_is_there(
    seeing: RunningSeeing, seeing_service: SeeingService, tmp_path: Path
) -> None:
    write_table(tmp_path, "".join(f"cat.jpg,a cat of {i} years,\n" for i in range(2000)))
    command = [sys.executable, "-m", "altclip", "evaluate", "things.csv", "--language", "en"]
    environment = {**os.environ, "ALTCLIP_ADDRESS": seeing.address, "PYTHONPATH": str(Path.cwd())}
    # The client has 512 items at most on their way: by then it has taken more than a hundred results.
    seeing_service.gate_at = 800
    seeing_service.stream_gate.clear()
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    until(lambda: len(seeing_service.embedded) >= 800, seconds=60, what="some captions are embedded")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in errors
    seeing_service.stream_gate.set()
    seeing_service.embedded.clear()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    captions = [each for each in seeing_service.embedded if not each.startswith("picture:")]
    assert 0 < len(captions) < 2007 - 100


def test_a_broken_connection_is_taken_up_again(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path
) -> None:
    seeing_service.break_after = 5
    status, _, _, found = evaluate(write_table(tmp_path))
    assert status == 0
    assert found["left_out"] == []
    assert found["results"][0]["images"] == 7


def test_another_revision_has_rows_of_its_own(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path
) -> None:
    path = write_table(tmp_path)
    evaluate(path)
    seeing_service.revision = "fedcba9876543210"
    evaluate(path)
    assert len(seeing_service.embedded) == 2 * 21
    folders = sorted(each.name for each in (tmp_path / "altclip-evaluation").iterdir())
    assert folders == ["seeing-0123456789abcdef-float32", "seeing-fedcba9876543210-float32"]


def test_weights_that_change_on_the_way_end_the_evaluation(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path
) -> None:
    seeing_service.next_revision, seeing_service.items_of_revision = "fedcba9876543210", 7
    status, output, errors, found = evaluate(write_table(tmp_path))
    assert (status, output, found) == (1, "", None)
    last = errors.splitlines()[-1]
    assert "changed the weights of 'seeing' from 0123456789abcdef to fedcba9876543210" in last
    status, _, _, found = evaluate(tmp_path / "things.csv")
    assert (status, found["model"]["revision"]) == (0, "fedcba9876543210")
    assert len(seeing_service.embedded) >= 21 + 7  # nothing of the first revision was used


def test_answers_without_a_revision_are_not_used(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path
) -> None:
    seeing_service.next_revision, seeing_service.items_of_revision = "", 7
    status, _, errors, _ = evaluate(write_table(tmp_path))
    assert status == 3
    assert "does not tell the revision" in errors


def test_a_missing_picture_is_counted_and_named(evaluate: Run, tmp_path: Path) -> None:
    path = write_table(tmp_path, "gone.jpg,a car,车\nbroken.jpg,a tree,树\n")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    status, output, _, found = evaluate(path)
    assert status == 0
    assert found["results"][0]["images"] == 7
    assert found["images"] == 9
    assert [each["where"] for each in found["left_out"]] == [
        f"{path} line 9, column image",
        f"{path} line 10, column image",
    ]
    assert "left out: 2; the figures are over the others" in output
    assert f"line 9, column image: no such file: {tmp_path}/gone.jpg" in output
    assert "line 10, column image: UNDECODABLE_IMAGE: no picture" in output
    (tmp_path / "gone.jpg").write_bytes(picture("car"))
    assert evaluate(path)[3]["results"][0]["images"] == 8  # what failed is tried again


def test_an_item_that_always_fails_does_not_end_the_evaluation(evaluate: Run, tmp_path: Path) -> None:
    status, output, _, found = evaluate(write_table(tmp_path, "cat.jpg,poison,\n"))
    assert status == 0
    assert found["results"][0]["captions"] == 7
    assert "things.csv line 9, column en: INTERNAL" in output


def test_captions_that_were_cut_are_told(evaluate: Run, tmp_path: Path) -> None:
    _, output, _, found = evaluate(write_table(tmp_path, "cat.jpg,a cat that is long,\n"))
    assert found["results"][0]["cut_captions"] == 1
    assert "texts over the model's tokens, which were cut: 1" in output


def test_nothing_left_is_an_error(evaluate: Run, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("image,en\ngone.jpg,a cat\n")
    status, _, errors, _ = evaluate(tmp_path / "set.csv")
    assert status == 2
    assert "nothing is left to be measured: 1 left out" in errors.splitlines()[-1]


def test_without_matplotlib_there_is_a_sentence_and_no_picture(
    evaluate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "can_draw", lambda: False)
    status, _, errors, found = evaluate(write_table(tmp_path))
    assert status == 0
    assert found is not None
    assert "no picture was drawn: matplotlib is not installed" in errors
    assert not (tmp_path / "results.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.csv"], "gone.csv: no such file or folder"),
        (["set.txt"], "set.txt: neither a folder nor one of .csv, .jsonl, .ndjson, .tsv"),
        (["empty"], "empty/test: no such folder (--split names another)"),
        (["things.csv", "--language", "de"], "things.csv: no column 'de' among image, en, zh"),
    ],
)
def test_wrong_usage_is_one_line(evaluate: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    write_table(tmp_path)
    (tmp_path / "set.txt").touch()
    (tmp_path / "empty").mkdir()
    status, output, errors, _ = evaluate(*arguments)
    assert (status, output) == (2, "")
    assert errors == f"altclip: {message}\n"


def test_the_default_files_stand_in_the_work_folder(evaluate: Run, tmp_path: Path) -> None:
    write_table(tmp_path)
    assert main(["evaluate", "things.csv", "--quiet"]) == 0
    name = "things-retrieval-seeing-0123456789abcdef"
    assert (tmp_path / "altclip-evaluation" / f"{name}.json").exists()
    assert (tmp_path / "altclip-evaluation" / f"{name}.png").exists()
