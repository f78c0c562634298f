"""Fetches the pinned npm packages with npm itself and unpacks what training reads.

`npm pack` downloads a package's archive, checks its integrity against the registry's metadata and runs none
of its scripts. An archive that is already unpacked is not fetched again.
"""

import subprocess
import tarfile
from pathlib import Path

from training.sources.looks import PACKAGES


def package_folder(work: Path, package: str) -> Path:
    """Where `package` lies once fetched."""
    return work / "packages" / package.replace("/", "-").lstrip("@")


def fetch(work: Path) -> None:
    """Fetches every package of the recipe that is not there yet."""
    archives = work / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    for package, version in PACKAGES.items():
        folder = package_folder(work, package)
        if (folder / "package.json").exists():
            continue
        print(f"fetch {package}@{version}", flush=True)
        command = ["npm", "pack", "--silent", "--pack-destination", str(archives), f"{package}@{version}"]
        name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(archives / name) as archive:
            for member in archive.getmembers():
                member.name = member.name.partition("/")[2]  # every npm archive has one top folder, "package"
                if member.name:
                    archive.extract(member, folder, filter="data")
