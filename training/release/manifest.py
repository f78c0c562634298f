"""The manifest of an exported folder: `manifest.json` lists every other file's SHA-256 and size."""

from pathlib import Path

from training.files import sha256, write_json


def write_manifest(folder: Path) -> None:
    """Lists every other file of the folder, as a conversion does."""
    files = [
        {"name": path.name, "sha256": sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    ]
    write_json(folder / "manifest.json", {"files": files})
