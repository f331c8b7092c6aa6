"""The documentation as one page of HTML, from the OpenAPI document; nothing from elsewhere.

Swagger UI would have to come from another server, and this platform runs without a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any

from co2_assets.serving.api.problems import CODES

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { border-bottom: 1px solid; margin-top: 2.5rem; }
h3 { margin-bottom: 0; font-family: ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; border: 1px solid; border-radius: .25rem; padding: .5rem; }
.wide { overflow-x: auto; }
"""

SHOWN_LINES = 60
"""Of an example answer."""


def documentation_page(document: dict[str, Any]) -> str:
    """The whole page, from an OpenAPI document."""
    return "\n".join(_lines(document))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body><main>"
    yield f"<h1>{escape(info['title'])}</h1>"
    yield _prose(info["description"])
    if "securitySchemes" in document["components"]:
        yield "<p>Routes with data need a key: send <code>X-API-Key: KEY</code> or"
        yield "<code>Authorization: Bearer KEY</code>.</p>"
    yield '<p>For programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>'
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['description'].removesuffix('.'))}</h2>"
        for path, operations in document["paths"].items():
            if tag["name"] in operations["get"]["tags"]:
                yield from _route(path, operations["get"], document)
    yield from _problems()
    yield "</main></body></html>"


def _route(path: str, operation: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    asked = path + operation.get("x-example-query", "")
    yield f'<section id="{operation["operationId"]}"><h3>GET {escape(path)}</h3>'
    yield f"<p><strong>{_inline(operation['summary'])}.</strong></p>"
    if operation["description"] != operation["summary"] + ".":
        yield _prose(operation["description"])
    parameters = operation.get("parameters", [])
    if parameters:
        yield '<div class="wide"><table><tr><th>parameter</th><th>type</th><th>meaning</th></tr>'
        yield from (
            f"<tr><td><code>{escape(one['name'])}</code>"
            f"{' (needed)' if one.get('required') else ''}</td>"
            f"<td>{escape(_kind(one['schema'], document))}</td>"
            f"<td>{_inline(one.get('description', ''))}</td></tr>"
            for one in parameters
        )
        yield "</table></div>"
    yield f'<p>Example: <a href="{escape(asked)}"><code>{escape(asked)}</code></a></p>'
    yield from _columns(operation, document)
    example = operation["responses"]["200"]["content"].get("application/json", {}).get("example")
    if example is not None:
        lines = json.dumps(example, indent=2, ensure_ascii=False).splitlines()
        more = ["..."] if len(lines) > SHOWN_LINES else []
        shown = escape("\n".join([*lines[:SHOWN_LINES], *more]))
        yield f"<details><summary>A recorded answer</summary><pre>{shown}</pre></details>"
    yield "</section>"


def _columns(operation: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    """What `data` holds: its fields with unit and meaning."""
    answer = operation["responses"]["200"]["content"].get("application/json", {}).get("schema", {})
    data = _model(answer, document).get("properties", {}).get("data")
    if data is None:
        return
    fields = _model(data.get("items", data), document)["properties"]
    yield "<details><summary>What <code>data</code> holds</summary>"
    yield '<div class="wide"><table><tr><th>field</th><th>unit</th><th>meaning</th></tr>'
    yield from (
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(field.get('unit', ''))}</td>"
        f"<td>{_inline(field['description'])}</td></tr>"
        for name, field in fields.items()
    )
    yield "</table></div></details>"


def _model(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """A schema, with its reference followed."""
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return {**found, **schema}


def _kind(schema: dict[str, Any], document: dict[str, Any]) -> str:
    """Type, range and default of a parameter, in words."""
    schema = _model(schema, document)
    parts = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    one = {**schema, **parts[0]}
    words = [one.get("format", one.get("type", "text"))]
    if "enum" in one:
        words = [" | ".join(str(value) for value in one["enum"])]
    if "minimum" in one:
        words.append(f"{one['minimum']} to {one.get('maximum', 'any')}")
    if one.get("default") is not None:
        words.append(f"default {json.dumps(one['default'])}")
    return ", ".join(words)


def _problems() -> Iterator[str]:
    yield "<h2>Errors, by their code</h2>"
    yield '<div class="wide"><table><tr><th>code</th><th>status</th><th>meaning</th></tr>'
    yield from (
        f'<tr id="{name}"><td><code>{name}</code></td><td>{code.status}</td>'
        f"<td>{_inline(code.meaning)}</td></tr>"
        for name, code in CODES.items()
    )
    yield "</table></div>"


def _prose(markdown: str) -> str:
    """Paragraphs and lists, the little Markdown that the texts of this API have."""
    found = []
    for block in markdown.split("\n\n"):
        if block.startswith("- "):
            items = (item.replace("\n", " ") for item in block.removeprefix("- ").split("\n- "))
            found.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        else:
            found.append(f"<p>{_inline(block)}</p>")
    return "".join(found)


def _inline(text: str) -> str:
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
