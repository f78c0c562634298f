"""Zero-shot classification by `altclip evaluate`: every kind of prompts, in several languages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from altclip.evaluate import server_prompts
from tests.altclip.evaluate.evaluation_data import (
    CHINESE,
    ENGLISH,
    RunningSeeing,
    SeeingService,
    write_labelled,
    write_tar,
)
from tests.altclip.fake_service import Failure
from tests.server import until

Run = Any
LABELLED = [(f"{name} {extra}", label) for label, name in enumerate(ENGLISH) for extra in ("", "by night")]


def test_classification_with_all_prompts(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path
) -> None:
    write_labelled(tmp_path / "set", [*LABELLED, ("moon", 0)], ENGLISH)
    status, output, _, found = evaluate(tmp_path / "set")
    assert status == 0
    assert [(each["prompts"], each["templates"]) for each in found["results"]] == [
        ("server", None),
        ("own", 2),
        ("bare", 1),
    ]
    for result in found["results"]:
        assert result["top1"] == pytest.approx(14 / 15)  # the moon is no cat
        assert result["mean_per_class_recall"] == pytest.approx((6 + 2 / 3) / 7)
        assert (result["images"], result["classes"]) == (15, 7)
    assert "own (2)" in output
    assert "+0.0" in output
    assert seeing_service.classified == 15
    evaluate(tmp_path / "set")
    assert seeing_service.classified == 15  # ranks are kept as embeddings are


def test_classification_in_two_languages_by_names_alone(evaluate: Run, tmp_path: Path) -> None:
    write_labelled(tmp_path / "set", LABELLED, ENGLISH)
    (tmp_path / "zh.txt").write_text("\n".join(CHINESE))
    status, output, _, found = evaluate(
        tmp_path / "set", "--classnames", f"zh={tmp_path}/zh.txt", "--prompts", "bare"
    )
    assert status == 0
    assert [(each["language"], each["top1"]) for each in found["results"]] == [("en", 1.0), ("zh", 1.0)]
    shown = [line.split()[:2] for line in output.splitlines()[5:8]]
    assert shown == [["en", "bare"], ["zh", "bare"], ["mean", "bare"]]


def test_a_picture_that_the_server_refuses_does_not_spoil_its_call(evaluate: Run, tmp_path: Path) -> None:
    members = [("x.jpg", b"no picture"), ("x.cls", b"0")]
    write_labelled(tmp_path / "set", LABELLED, ENGLISH)
    write_tar(tmp_path / "set" / "test" / "1.tar", members)
    (tmp_path / "set" / "test" / "nshards.txt").write_text("2\n")
    status, _, _, found = evaluate(tmp_path / "set", "--prompts", "server")
    assert status == 0
    assert found["results"][0]["images"] == 14
    assert [each["reason"] for each in found["left_out"]] == ["UNDECODABLE_IMAGE: no picture"]


def test_a_call_of_refused_pictures_alone_says_nothing_of_cut_prompts(
    evaluate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One call after the other, and the last one has nothing but what is refused.
    monkeypatch.setattr(server_prompts, "CALLS", 1)
    monkeypatch.setattr(server_prompts, "CALL_IMAGES", len(LABELLED))
    write_labelled(tmp_path / "set", LABELLED, [*ENGLISH[:-1], "moon that is long"])
    write_tar(tmp_path / "set" / "test" / "1.tar", [("x.jpg", b"no picture"), ("x.cls", b"0")])
    (tmp_path / "set" / "test" / "nshards.txt").write_text("2\n")
    for _ in range(2):  # the second time from the store, but for what was refused
        status, _, _, found = evaluate(tmp_path / "set", "--prompts", "server")
        assert status == 0
        assert (found["results"][0]["images"], found["results"][0]["cut_prompts"]) == (14, 1)


def test_more_classes_than_the_server_takes(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path
) -> None:
    seeing_service.max_labels = 5
    write_labelled(tmp_path / "set", LABELLED, ENGLISH)
    status, output, _, found = evaluate(tmp_path / "set")
    assert status == 0
    assert [each["prompts"] for each in found["results"]] == ["own", "bare"]
    assert "the server's prompts in en were not measured: it takes 5 labels in a call" in output
    status, _, errors, _ = evaluate(tmp_path / "set", "--prompts", "server")
    assert status == 2
    assert "it takes 5 labels in a call" in errors


def test_a_full_queue_is_waited_for_as_long_as_the_server_says_when_to_come_again(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path
) -> None:
    full = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.001, pushback_ms="-1")
    seeing_service.failures["ClassifyImage"] = [full] * 40
    write_labelled(tmp_path / "set", LABELLED, ENGLISH)
    status, _, _, found = evaluate(tmp_path / "set", "--prompts", "server")
    assert status == 0
    assert found["results"][0]["images"] == 14


def test_but_not_for_ever(
    evaluate: Run, seeing_service: SeeingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.01, pushback_ms="-1")
    seeing_service.failures["ClassifyImage"] = [full] * 1000
    monkeypatch.setattr(server_prompts, "PATIENCE", 0.05)
    write_labelled(tmp_path / "set", LABELLED, ENGLISH)
    status, _, errors, _ = evaluate(tmp_path / "set", "--prompts", "server")
    assert status != 0
    assert "QUEUE_FULL" in errors
    assert len(seeing_service.failures["ClassifyImage"]) > 950


def test_an_interruption_does_not_wait_for_as_long_as_the_service_asks(
    seeing: RunningSeeing, tmp_path: Path
) -> None:
    write_labelled(tmp_path / "set", LABELLED, ENGLISH)
    quota = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", retry_after=600.0, pushback_ms="-1")
    seeing.service.failures["ClassifyImage"] = [quota] * 50
    process = subprocess.Popen(
        [sys.executable, "-m", "altclip", "evaluate", "set", "--prompts", "server"],
        cwd=tmp_path,
        env={**os.environ, "ALTCLIP_ADDRESS": seeing.address, "PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: seeing.service.seen["ClassifyImage"], what="a call that is refused")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "the same command goes on from here" in errors
