"""The document as a page of HTML without a script and without anything from elsewhere. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["POLICY", "page"]

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 25%, transparent) }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }
body, pre { overflow-wrap: anywhere }
a { color: LinkText }
:focus-visible { outline: 3px solid Highlight; outline-offset: 2px }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .4rem 0; padding: 0 .8rem }
summary { cursor: pointer; padding: .5rem 0 }
details[open] { padding-bottom: .6rem }
b { display: inline-block; min-width: 3.2rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem }
pre { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem; white-space: pre-wrap }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; font-weight: normal }
tr { border-top: 1px solid var(--line) }
"""
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Its Content-Security-Policy."""


def page(document: Mapping[str, Any]) -> str:
    """Works without a script: each route unfolds by a click or by the keyboard."""
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body><header><h1>{escape(title)}</h1>",
        f"<p>{escape(info['summary'])}. <a href='openapi.json'>openapi.json</a></p>",
        f"<p>{escape(info['description'])}</p>{_keys(document)}</header><main>",
    ]
    for tag in document["tags"]:
        parts.append(f"<section><h2>{escape(tag['name'])}</h2>")
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    parts.append(_operation(method.upper(), path, operation))
        parts.append("</section>")
    parts.append("<section><h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        about = _about(schema.get("description"))
        parts.append(
            f'<details id="{escape(name)}" open><summary>{escape(name)}</summary>'
            f"{about}{_schema(schema)}</details>"
        )
    parts.append("</section></main></body></html>")
    return "".join(parts)


def _keys(document: Mapping[str, Any]) -> str:
    if "security" not in document:
        return ""
    return "<p>Send your key as <code>Authorization: Bearer KEY</code>.</p>"


def _about(text: str | None) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f"<details><summary><b>{method}</b> <code>{escape(path)}</code> ",
        f"{escape(operation['summary'])}</summary>",
        _about(operation.get("description")),
    ]
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        example = escape(json.dumps(content["example"], indent=2, ensure_ascii=False))
        parts.append(f"<h3>Request</h3><p><code>{escape(media)}</code> {_type(content['schema'])}</p>")
        parts.append(f'<pre tabindex="0">{example}</pre>')
        if "properties" in content["schema"]:
            parts.append(_schema(content["schema"]))
    parts.append("<h3>Answers</h3><table>")
    for status, answer in operation["responses"].items():
        kinds = " ".join(_type(content["schema"]) for content in answer.get("content", {}).values())
        parts.append(
            f"<tr><th scope='row'>{escape(status)}<td>{escape(answer['description'])}<td>{kinds}</tr>"
        )
    parts.append("</table></details>")
    return "".join(parts)


def _schema(schema: Mapping[str, Any]) -> str:
    if "properties" not in schema:
        return f"<p>{_type(schema)}</p>"
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><th scope='row'><code>{escape(name)}</code>{'' if name in required else ' (optional)'}"
        f"<td>{_type(each)}<td>{escape(_words(each))}</tr>"
        for name, each in schema["properties"].items()
    )
    return f"<table>{rows}</table>"


def _words(schema: Mapping[str, Any]) -> str:
    if "description" in schema:
        return str(schema["description"])
    return next((_words(each) for each in schema.get("anyOf", ()) if "description" in each), "")


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return _either([_type(each) for each in schema["anyOf"] if each.get("type") != "null"])
    if "enum" in schema:
        return _either([f"<code>{escape(str(value))}</code>" for value in schema["enum"]])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object" and schema.get("properties"):
        inner = ", ".join(
            f"<code>{escape(name)}</code>: {_type(each)}" for name, each in schema["properties"].items()
        )
        return f"{{{inner}}}"
    return escape(str(schema.get("type", "anything")))


def _either(kinds: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(kinds))
