"""A part that is given up leaves nothing, on the disk or to be written later."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from altclip.bulk.columns import Embedded, Shape, output_schema
from altclip.bulk.output.parts import PartWriter


def test_a_part_that_is_given_up_is_not_written_to_when_its_writer_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    columns, shape = (Embedded("text", True),), Shape("float32", 8)
    schema = output_schema(pa.schema([("text", pa.string())]), (), columns, shape, {})
    writer = PartWriter(tmp_path, 0, 0, schema, columns, shape, None)
    writer.discard()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda error: told.append(str(error.object)))
        del writer  # and pyarrow's writer with it
    assert told == []
    assert list(tmp_path.iterdir()) == []
