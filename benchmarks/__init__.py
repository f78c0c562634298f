"""Measurements, each a ratio between things measured in turn in one run."""

from __future__ import annotations

import os

# As a worker has it: see AltClipFamily.load(). Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
