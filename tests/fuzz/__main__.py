"""`python -m tests.fuzz TARGET [libFuzzer's options]`: runs one target under atheris (`make fuzz`).

New inputs go to build/fuzz/TARGET; the corpus beside this file is read. What crashes is written beside them:
put it into the corpus, whose files `make test` runs every time.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    fuzzer: Any = importlib.import_module("atheris")  # lies elsewhere, and has no types
    name, *options = sys.argv[1:]
    with fuzzer.instrument_imports(include=["PIL", "service", "worker"]):
        from tests.fuzz.targets import CORPUS, TARGETS

        for file in (CORPUS / name).iterdir():  # loads what is loaded on first use
            TARGETS[name](file.read_bytes())

    found = Path("build/fuzz") / name
    found.mkdir(parents=True, exist_ok=True)
    fuzzer.Setup([sys.argv[0], str(found), str(CORPUS / name), *options], TARGETS[name])
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
