"""A server that says what a test tells it to, for replies that no honest server gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Said:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised_bytes: int | None = None
    """Content-Length, where it is a lie."""


@dataclass
class Stub:
    url: str
    paths: list[str] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)


def envelope(records: list[Any], **fields: Any) -> Said:
    return Said(json.dumps({"total": len(records), **fields, "records": records}).encode())


@contextmanager
def stub(*says: Said) -> Iterator[Stub]:
    """Answers in order; the last one again and again."""
    left = list(says)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            heard.paths.append(parts.path)
            heard.queries.append(
                {name: values[0] for name, values in parse_qs(parts.query).items()}
            )
            said = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(said.status)
            length = len(said.body) if said.promised_bytes is None else said.promised_bytes
            self.send_header("Content-Length", str(length))
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            """Tests read the requests from the stub, not from stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        heard = Stub(f"http://127.0.0.1:{listening.server_address[1]}")
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield heard
        finally:
            listening.shutdown()
            thread.join()
