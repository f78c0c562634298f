"""As process 1 of a container: nobody else buries orphans, and SIGTERM is ignored unless it is handled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import psutil
import pytest

from tests.server import COMMAND, Logs, until

UNSHARE = [shutil.which("unshare") or "unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def may_unshare() -> bool:
    try:
        return (
            subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=60, check=False).returncode == 0
        )
    except OSError:
        return False


@pytest.mark.skipif(not may_unshare(), reason="may not make a process namespace here")
def test_process_1_buries_orphans_and_stops_on_sigterm() -> None:
    addresses = ["--device=cpu", *(f"--{port}-address=127.0.0.1:0" for port in ("grpc", "http", "ops"))]
    model = ["--model=m=stub:dimension=8", "--batch-tokens=4096", "--batch-images=32"]
    container = subprocess.Popen(
        [*UNSHARE, str(COMMAND), *addresses, *model],
        env={name: value for name, value in os.environ.items() if not name.startswith("ALTCLIP_")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert container.stderr is not None
    logs = Logs(container.stderr)
    try:
        logs.wait_for("ready")
        (supervisor,) = psutil.Process(container.pid).children()
        assert len(supervisor.children()) == 2
        # A process whose parent left at once: it becomes the supervisor's to bury. It ends with its input.
        orphan = "import os\nif os.fork() == 0:\n    os.read(0, 1)\n    os._exit(0)"
        inside = ["nsenter", "--target", str(supervisor.pid), "--pid", "--mount"]
        with subprocess.Popen([*inside, sys.executable, "-c", orphan], stdin=subprocess.PIPE) as parent:
            assert parent.wait(30) == 0
            until(lambda: len(supervisor.children()) == 3, what="the orphan is adopted")
        until(lambda: len(supervisor.children()) == 2, what="the orphan is buried")
        supervisor.terminate()
        assert container.wait(60) == 0
    finally:
        container.kill()
        container.wait()
