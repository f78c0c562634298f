"""Asks a server for all that its openapi.json describes, by schemathesis: what fits its schemas and what not.

    python -m tests.interop.described [schemathesis' options]        (`make apis`)

It must find no 5xx, no status, type, header or body that is not described, and no method that is answered
although no route has it. `make sdks` installs it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.overlays import overlay
from tests.server import start_server

__all__ = ["asked"]

# The deadline is the caller's: who asks for an answer within a millisecond is told 504.
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx", 504]
"""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


def asked(*options: str) -> subprocess.CompletedProcess[str]:
    """A run against a stub. options: how much is asked."""
    environment = overlay("sdks")
    with (
        tempfile.TemporaryDirectory() as folder,
        start_server("--model", "m=stub:dimension=8,image_size=32") as server,
    ):
        config = Path(folder, "schemathesis.toml")
        config.write_text(CONFIG)
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
        command += [
            f"http://{server.http}/openapi.json",
            f"--checks={','.join(CHECKS)}",
            "--no-color",
            *options,
        ]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


if __name__ == "__main__":
    done = asked(*sys.argv[1:])
    print(done.stdout, done.stderr, sep="\n")
    sys.exit(done.returncode)
