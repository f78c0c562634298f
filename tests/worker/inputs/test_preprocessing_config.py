"""preprocessor_config.json is followed, in every spelling, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worker.errors import ModelError
from worker.inputs.images import Preprocessing

CLIP = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}, "resample": 3}


def test_the_configuration_is_read_in_its_old_and_new_spelling(tmp_path: Path) -> None:
    assert Preprocessing.parse(CLIP, "x") == Preprocessing.parse({**CLIP, "size": 64, "crop_size": 64}, "x")
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 48, "crop_size": 48}}')
    assert Preprocessing.read(tmp_path).size == 48


@pytest.mark.parametrize(
    "values",
    [
        {**CLIP, "crop_size": {"height": 64, "width": 32}},
        {**CLIP, "do_center_crop": False},
        {**CLIP, "image_mean": 3},
        {**CLIP, "size": {"longest_edge": 3}},
        {**CLIP, "size": "big"},
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        Preprocessing.parse(values, "preprocessor_config.json")
