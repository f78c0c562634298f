"""Writes the dashboards: `python -m scripts.dashboards`, which `make dashboards` calls.

They go into deploy/helm/altclip/files/dashboards as plain JSON, which Grafana imports as it is.
"""

from __future__ import annotations

from pathlib import Path

from scripts.dashboards.grafana import BOARDS, text

FOLDER = Path(__file__).parents[2] / "deploy" / "helm" / "altclip" / "files" / "dashboards"

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in BOARDS:
        (FOLDER / f"{name}.json").write_text(text(name))
