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
            subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=10, check=False).returncode == 0
        )
    except OSError:
        return False


@pytest.mark.skipif(not may_unshare(), reason="may not make a process namespace here")
def test_process_1_buries_orphans_and_stops_on_sigterm() -> None:
    addresses = ["--grpc-address=127.0.0.1:0", "--ops-address=127.0.0.1:0", "--device=cpu"]
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
        logs.wait_for("ready", seconds=30)
        (supervisor,) = psutil.Process(container.pid).children()
        assert len(supervisor.children()) == 2
        # A process whose parent has left at once: it becomes the supervisor's to bury.
        orphan = "import os, time\nif os.fork() == 0:\n    time.sleep(1)\n    os._exit(0)"
        inside = ["nsenter", "--target", str(supervisor.pid), "--pid", "--mount"]
        subprocess.run([*inside, sys.executable, "-c", orphan], timeout=10, check=True)
        until(lambda: len(supervisor.children()) == 3, seconds=2, what="the orphan is adopted")
        until(lambda: len(supervisor.children()) == 2, seconds=4, what="the orphan is buried")
        supervisor.terminate()
        assert container.wait(10) == 0
    finally:
        container.kill()
        container.wait()
