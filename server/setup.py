"""What pyproject.toml beside this cannot say: that this version needs the same version of the client."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = runpy.run_path(str(HERE.parent / "altclip" / "version.py"))["VERSION"]
NEEDS = tomllib.loads((HERE / "pyproject.toml").read_text())["dependency-groups"]["needs"]

setup(version=VERSION, install_requires=[f"altclip=={VERSION}", *NEEDS])
