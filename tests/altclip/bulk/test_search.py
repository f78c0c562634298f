"""`altclip search` finds what numpy finds."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from altclip import Client
from altclip.cli import main
from tests.altclip.bulk.conftest import Run
from tests.altclip.bulk.outputs import json_lines, parts, texts
from tests.altclip.bulk.test_images import png, tar
from tests.server import RunningServer


@pytest.mark.parametrize("encoding", ["float32", "int8"])
def test_the_nearest_rows_come_first(
    bulk: Run, stub: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    json_lines(tmp_path / "in.jsonl", texts(300))
    out = tmp_path / "out"
    bulk(tmp_path / "in.jsonl", out, "--rows-per-shard", 70, "--encoding", encoding)
    assert main(["search", str(out), "--text", "text number 123", "--top-k", "5", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    with Client(stub.grpc) as client:
        query = client.embed_text("text number 123").vectors[0]
    stored = np.array(parts(out).column("text_embedding").to_pylist(), np.float32)
    scores = stored @ query / np.linalg.norm(stored, axis=1)
    assert [hit["row"] for hit in hits] == np.argsort(-scores, kind="stable")[:5].tolist()
    assert hits[0] | {"score": 1} == {"row": 123, "score": 1, "n": 123, "text": "text number 123"}
    assert main(["search", str(out), "--text", "text number 123", "--top-k", "2"]) == 0
    assert "text number 123" in capsys.readouterr().out.splitlines()[2]


def test_every_type_of_the_inputs_columns_is_shown(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {
        "text": pa.array(["a", "b"]),
        "view": pa.array(["猫", "b"], pa.string_view()),
        "when": pa.array([0, 1], pa.timestamp("s")),
        "price": pa.array([Decimal("1.50"), None]),
        "share": pa.array([float("nan"), 0.5]),
        "tags": pa.array([[{"on": date(2026, 11, 29)}], []]),
        "image": pa.array([b"an image", b""]),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    out = tmp_path / "out"
    assert bulk(tmp_path / "in.parquet", out, "--text", "text").status == 0
    assert main(["search", str(out), "--text", "a", "--top-k", "1", "--json"]) == 0
    told = capsys.readouterr().out
    assert "NaN" not in told
    (hit,) = json.loads(told)
    assert hit | {"score": 1} == {
        "row": 0,
        "score": 1,
        "text": "a",
        "view": "猫",
        "when": "1970-01-01 00:00:00",
        "price": "1.50",
        "share": None,
        "tags": [{"on": "2026-11-29"}],
    }
    assert main(["search", str(out), "--text", "a"]) == 0
    assert "1970-01-01 00:00:00" in capsys.readouterr().out


def test_an_output_of_other_weights_is_not_searched(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_lines(tmp_path / "in.jsonl", texts(3))
    bulk(tmp_path / "in.jsonl", tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"revision": "another"}))
    assert main(["search", str(tmp_path / "out"), "--text", "a"]) == 1
    assert "cannot be compared" in capsys.readouterr().err


def test_a_folder_without_a_manifest_is_refused(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(tmp_path), "--text", "a"]) == 2
    assert "no output of a bulk job" in capsys.readouterr().err


def colours(path: Path, count: int) -> list[tuple[int, ...]]:
    """The middle of each of the sheet's first tiles, and of the page beside them."""
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        return [tuple(sheet.getpixel((8 + 232 * n + 112, 8 + 112))) for n in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["folder", "bytes", "structs", "npy"])
def test_the_sheet_shows_the_images_of_the_hits_best_first(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    contents = [png(n, (300, 200)) for n in range(8)]
    if form in ("folder", "npy"):
        for n, content in enumerate(contents):
            (folder / f"{n}.png").write_bytes(content)
        given = folder
    else:
        given = folder / "in.parquet"
        cells = contents if form == "bytes" else [{"bytes": each, "path": "x"} for each in contents]
        pq.write_table(pa.table({"n": range(8), "image": cells}), given)
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    assert (
        bulk(given, out, "--rows-per-shard", 3, *(("--format", "npy") if form == "npy" else ())).status == 0
    )
    picture = tmp_path / "asked.png"
    picture.write_bytes(contents[6])
    command = ["search", str(out), "--image", str(picture), "--top-k", "4", "--show", str(sheet), "--json"]
    assert main(command) == 0
    hits = [hit["row"] for hit in json.loads(capsys.readouterr().out)]
    assert hits[0] == 6
    assert colours(sheet, 4) == [(n * 5 % 256, n, 99) for n in hits]


@pytest.mark.parametrize("orientation", ["as_stored", "upright"])
def test_an_image_is_turned_as_those_of_the_output_were(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], orientation: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    noise = np.random.default_rng(5).integers(0, 256, (6, 40, 60, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for n, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{n}.jpg", exif=exif)
    out = tmp_path / "out"
    assert bulk(tmp_path / "in", out, "--orientation", orientation).status == 0
    assert main(["search", str(out), "--image", str(tmp_path / "in" / "4.jpg"), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["row"], first["score"]) == (4, pytest.approx(1, abs=1e-4))


def test_what_cannot_be_shown_is_an_empty_tile_or_an_error(
    bulk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"{n}.png").write_bytes(png(n))
    (tmp_path / "set.tar").write_bytes(tar({"0.png": png(0)}))
    json_lines(tmp_path / "words.jsonl", texts(3))
    sheet = tmp_path / "sheet.png"
    bulk(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "1.png").write_bytes(b"no image")
    (tmp_path / "in" / "2.png").unlink()
    show = ("--text", "a", "--show", str(sheet))
    assert main(["search", str(tmp_path / "out"), *show]) == 0
    assert colours(sheet, 3).count((0, 0, 99)) == 1
    bulk(tmp_path / "set.tar", tmp_path / "tar")
    assert main(["search", str(tmp_path / "tar"), *show]) == 0
    moved = tmp_path / "moved"
    (tmp_path / "in").rename(moved)
    assert main(["search", str(tmp_path / "out"), *show, "--images", str(moved)]) == 0
    assert colours(sheet, 3).count((0, 0, 99)) == 1
    bulk(tmp_path / "words.jsonl", tmp_path / "words")
    assert main(["search", str(tmp_path / "words"), *show]) == 2
    assert "--show needs one column with images: the output has none" in capsys.readouterr().err
