"""What the protos once promised they keep: buf compares them with the image that is committed beside them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """A copy that may be changed; its EmbeddingService."""
    for name in ("scripts/lint-protos.sh", "buf.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return tmp_path / "protos" / "altclip" / "v1" / "embedding_service.proto"


def lint(protos: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = protos.parents[3] / "scripts" / "lint-protos.sh"
    command = [str(script), str(BIN), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


BREAKS = {
    "a field of another number": ("repeated uint32 token_counts = 7;", "repeated uint32 token_counts = 9;"),
    "a field of another name": ("optional bool normalize = 2;", "optional bool normalise = 2;"),
    "a field of another type": ("uint32 top_k = 5;", "int64 top_k = 5;"),
    "a value of another meaning": ("ORIENTATION_UPRIGHT = 2;", "ORIENTATION_MIRRORED = 2;"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_change_that_breaks_clients_is_refused_and_not_saved(name: str, protos: Path) -> None:
    before, after = BREAKS[name]
    text = protos.read_text()
    assert before in text
    protos.write_text(text.replace(before, after))
    image = (protos.parent / "image.binpb").read_bytes()
    done = lint(protos, "--save")
    assert done.returncode != 0
    assert "embedding_service.proto" in done.stdout
    assert (protos.parent / "image.binpb").read_bytes() == image


def test_a_new_field_is_held_from_the_moment_it_is_saved(protos: Path) -> None:
    whole = "  Orientation orientation = 4;\n"
    assert lint(protos).returncode == 0
    protos.write_text(protos.read_text().replace(whole, whole + "  // New.\n  bool fresh = 5;\n"))
    stale = lint(protos)
    assert stale.returncode == 1
    assert "make proto" in stale.stderr
    assert lint(protos, "--save").returncode == 0
    assert lint(protos).returncode == 0
