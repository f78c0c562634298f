"""Which devices to run workers on. torch is never imported here; a short-lived process asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from service.config.options import OptionError
from worker.runtime import logs

__all__ = ["cuda_devices", "expand"]

_events = logs.get("supervisor")

_PROBE = (
    "import torch; print(torch.version.cuda, torch.cuda.device_count() if torch.cuda.is_available() else 0)"
)
_PROBE_SECONDS = 120.0


def expand(wanted: Sequence[str], count_cuda: Callable[[], int]) -> tuple[str, ...]:
    """`cpu` and `cuda:N` for what `--device` says. Raises OptionError for a device that is not there."""
    chosen: list[str] = []
    for device in wanted:
        if device == "auto":
            device = "cuda:0" if count_cuda() else "cpu"
        elif device.startswith("cuda:") and int(device[5:]) >= (there := count_cuda()):
            found = f"it has {there}" if there else "it has none that torch can use"
            raise OptionError(
                f"--device (ALTCLIP_DEVICE): there is no {device} on this machine, {found}; give cpu or auto"
            )
        chosen.append(device)
    return tuple(dict.fromkeys(chosen))


def cuda_devices(dev: Path = Path("/dev")) -> int:
    """How many CUDA devices torch can use. Costs nothing where the kernel has none, or they are hidden.

    Warns where the kernel has some and torch can use none: `auto` is the CPU then, which is slow.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or (not any(dev.glob("nvidia[0-9]*")) and not (dev / "dxg").exists()):
        return 0
    built_for, count = _probe()
    if not count:
        known = {"None": "it was built without CUDA", "": "it cannot be loaded, or does not answer"}
        reason = known.get(built_for, "the driver may be too old for it")
        _events.warning("cuda_unusable", "there is an NVIDIA device, and torch cannot use it", reason=reason)
    return count


def _probe() -> tuple[str, int]:
    """Which version of CUDA torch was built for, "None" for none and "" if it does not say, and how many
    devices it can use."""
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        built_for, count = probe.stdout.split()[-2:]
        return built_for, int(count)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return "", 0
