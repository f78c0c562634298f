"""What a model is loaded as where nobody says."""

from __future__ import annotations

import pytest
import torch

from worker.families.altclip.loading import default_dtype


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((7, 0), "float16"),
        ((7, 5), "float16"),
        ((8, 0), "bfloat16"),
        ((8, 9), "bfloat16"),
        ((12, 0), "bfloat16"),
    ],
)
def test_a_device_that_does_not_multiply_in_bfloat16_gets_float16(
    capability: tuple[int, int], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def told(device: object) -> tuple[int, int]:
        asked.append(device)
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", told)
    assert default_dtype("cuda:1") == dtype
    assert asked == ["cuda:1"], "the devices of a machine may differ"


def test_a_cpu_gets_float32() -> None:
    assert default_dtype("cpu") == "float32"
