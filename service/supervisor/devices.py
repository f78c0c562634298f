"""Which devices to run workers on. torch is never imported here; a short-lived process asks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from service.config.options import OptionError

__all__ = ["cuda_devices", "expand"]

_PROBE = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
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
    """How many CUDA devices torch can use. Costs nothing where the kernel has none."""
    if not any(dev.glob("nvidia[0-9]*")) and not (dev / "dxg").exists():
        return 0
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        return int(probe.stdout.strip() or 0)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return 0
