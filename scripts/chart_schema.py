"""Writes which settings the Helm chart accepts into its values.schema.json, from those of the server.

python -m scripts.chart_schema [--check]    --check only fails where the file is not current
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from service.config import options
from service.config.settings import Settings

SCHEMA = Path(__file__).parents[1] / "deploy" / "helm" / "altclip" / "values.schema.json"
CHARTS_OWN = {
    "model", "grpc_address", "http_address", "ops_address", "grace",
    "api_keys", "api_key_lines", "tls_certificate", "tls_key", "tls_client_ca",
}  # fmt: skip
"""Set by other values of the chart."""

_WIDTH = 120

_TYPES: dict[str, list[str]] = {
    "N": ["integer"],
    "SIZE": ["integer", "string"],
    "SECONDS": ["number", "string"],
    "RATIO": ["number", "string"],
}

_SWITCH = {"on", "off"}
"""Words that YAML reads as truth values; the chart's template writes them as words again."""


def properties() -> dict[str, Any]:
    """Name of an option, without its dashes → its JSON schema. null leaves the option out."""
    return {
        options.flag(field).removeprefix("--"): _property(field)
        for field in dataclasses.fields(Settings)
        if field.name not in CHARTS_OWN
    }


def _property(field: dataclasses.Field[Any]) -> dict[str, Any]:
    if field.metadata["repeat"]:
        return {"type": ["array", "string", "null"], "items": {"type": "string"}}
    metavar = field.metadata["metavar"]
    kinds = ["boolean", "string"] if {*metavar.split("|")} == _SWITCH else _TYPES.get(metavar, ["string"])
    return {"type": [*kinds, "null"]}


def layout(value: Any, indent: str = "") -> str:
    """JSON in which whatever fits into a line stands in one."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict) or len(indent) + len(line) <= _WIDTH:
        return line
    inner = indent + "  "
    parts = [f"{inner}{json.dumps(key)}: {layout(each, inner)}" for key, each in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def main() -> int:
    """Entry point."""
    text = SCHEMA.read_text()
    schema = json.loads(text)
    schema["properties"]["settings"]["properties"] = properties()
    current = layout(schema) + "\n"
    if "--check" not in sys.argv[1:]:
        SCHEMA.write_text(current)
    elif text != current:
        print(f"{SCHEMA} is not current: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
