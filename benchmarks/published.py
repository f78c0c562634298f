"""The tables of docs/benchmarks.md: a set of rows for each kind of machine, from the files of docs/measured.

    make bench ARGS=--publish ─▶ docs/measured/KIND.json ─▶ docs/benchmarks.md (again by make docs)

Rows that a run takes again replace those of the same kind of machine; others stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.report import Row, table

__all__ = ["Kind", "page", "publish", "read_kinds", "rewrite"]

DOCS = Path(__file__).parents[1] / "docs"
FOLDER, PAGE = DOCS / "measured", DOCS / "benchmarks.md"
PARTS = {"rows with a bar": True, "rows without a bar": False}
"""The blocks of the page, each between two comments, and whether their rows have a bar."""


@dataclass(frozen=True)
class Kind:
    """The rows of one kind of machine, in the order of a report.

    machine: what `benchmarks.machine.machine` tells.
    """

    machine: Mapping[str, str]
    rows: Sequence[Row]

    @property
    def name(self) -> str:
        """What the file is called: all that speed depends on."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def title(self) -> str:
        """For people."""
        machine = self.machine
        cores = f"{machine['cores']} cores" if machine.get("cores") else ""
        told = (machine.get("device"), machine["processor"], cores, machine["instructions"])
        return ", ".join(filter(None, told))


def read_kinds(folder: Path = FOLDER) -> list[Kind]:
    """Every kind of machine that there are rows of, by name."""
    found = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.append(Kind(content["machine"], [Row(**row) for row in content["rows"]]))
    return found


def publish(new: Kind, folder: Path = FOLDER) -> Path:
    """Writes the rows into the file of their kind of machine, in place of those of the same name."""
    known = next((kind for kind in read_kinds(folder) if kind.name == new.name), Kind(new.machine, []))
    rows = {(row.what, row.against): row for row in [*known.rows, *map(_shortened, new.rows)]}
    path = folder / f"{new.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": dict(new.machine), "rows": [_plain(row) for row in rows.values()]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def page(text: str, kinds: Iterable[Kind]) -> str:
    """The page with its blocks written anew."""
    for part, with_bar in PARTS.items():
        sections = [
            f"### {kind.title}\n\n{table(rows)}"
            for kind in kinds
            if (rows := [row for row in kind.rows if (row.bar is not None) is with_bar])
        ]
        start, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        if not after:
            raise ValueError(f"the page has no place for {part}")
        text = "\n\n".join([before + start, *sections, end + after])
    return text


def rewrite() -> None:
    """Writes the tables of the page anew."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), read_kinds()), encoding="utf-8")


def _shortened(row: Row) -> Row:
    """Four digits: more would only be noise in every comparison of two versions of the file."""
    facts = {key: _short(value) if isinstance(value, float) else value for key, value in row.facts.items()}
    others = None if row.others is None else round(row.others, 3)
    stolen = None if row.stolen is None else round(row.stolen, 3)
    return replace(row, ratios=[*map(_short, row.ratios)], facts=facts, others=others, stolen=stolen)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _plain(row: Row) -> dict[str, object]:
    """Without what is not said."""
    defaults = asdict(Row("", "", ()))
    return {key: value for key, value in asdict(row).items() if value != defaults[key] or key == "ratios"}


if __name__ == "__main__":
    rewrite()
