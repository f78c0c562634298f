"""What `--device` means on this machine, and on others."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config.options import OptionError
from service.supervisor import devices


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        (["auto"], 0, ("cpu",)),
        (["auto"], 2, ("cuda:0",)),
        (["cpu"], 2, ("cpu",)),
        (["cuda:1", "cuda:0"], 2, ("cuda:1", "cuda:0")),
        (["auto", "cuda:0", "cpu", "cpu"], 1, ("cuda:0", "cpu")),
    ],
)
def test_devices_are_chosen(wanted: list[str], there: int, chosen: tuple[str, ...]) -> None:
    assert devices.expand(wanted, lambda: there) == chosen


def test_a_device_that_is_not_there_is_refused_before_anything_starts() -> None:
    with pytest.raises(OptionError, match="no cuda:1 on this machine, it has 1"):
        devices.expand(["cuda:1"], lambda: 1)


def test_asking_for_the_cpu_counts_no_devices() -> None:
    def never() -> int:
        raise AssertionError

    assert devices.expand(["cpu"], never) == ("cpu",)


def test_without_device_files_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    assert devices.cuda_devices(tmp_path) == 0


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Those of the warnings."""
    events = [vars(record) for record in caplog.records]
    return [event["fields"]["reason"] for event in events if event.get("event") == "cuda_unusable"]


@pytest.mark.parametrize(
    ("torch", "found", "reason"),
    [
        ("print(12.8, 2)", 2, None),
        ("print(12.8, 0)", 0, "the driver may be too old for it"),
        ("print(None, 0)", 0, "it was built without CUDA"),
        ("raise ImportError", 0, "it cannot be loaded, or does not answer"),
    ],
)
def test_a_device_that_torch_cannot_use_is_told(
    torch: str,
    found: int,
    reason: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_PROBE", torch)
    assert devices.cuda_devices(tmp_path) == found
    assert reasons(caplog) == ([reason] if reason else [])


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_devices_that_are_hidden_are_none_and_no_news(
    hidden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert devices.cuda_devices(tmp_path) == 0
    assert reasons(caplog) == []
