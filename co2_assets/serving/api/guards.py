"""What a request must pass before it is answered: limits on size and rate, and the API key."""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections.abc import Mapping

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from co2_assets.serving.api.problems import ProblemError
from co2_assets.settings import Settings

LARGEST_BODY_BYTES = 4096
"""No route reads a body; a client that sends a small one anyway is answered."""

BODY_WITHIN_S = 5.0

LONGEST_ADDRESS_BYTES = 2048
"""Of path and query, encoded."""

OPEN_PATHS = frozenset({"/", "/health", "/docs", "/openapi.json"})
"""What needs no API key: how to use the API, and whether it is well."""


class Guards:
    """Refuses what must not reach the routes; the cheapest test comes first."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._key = settings.api_key
        self._rate = _Rate(settings.api_requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._rate.count(_client(scope))
            _refuse_long_address(scope)
            self._refuse_without_key(scope["path"], headers)
            receive = await _with_small_body(headers, receive)
        except ProblemError as problem:
            await problem.response(scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refuse_without_key(self, path: str, headers: Headers) -> None:
        if self._key is None or path in OPEN_PATHS:
            return
        given = _given_key(headers)
        # Compared in constant time, as bytes: a key may be any text.
        if not hmac.compare_digest(given.encode(), self._key.get_secret_value().encode()):
            raise ProblemError(
                "unauthorized",
                "the API key is wrong" if given else "this API asks for a key",
                where="header X-API-Key or Authorization",
                expected="the key that is set as CO2_API_KEY",
                next_step="send X-API-Key: <key> or Authorization: Bearer <key>",
                headers={"WWW-Authenticate": "Bearer"},
            )


class _Rate:
    """A fixed window of a minute for each client."""

    def __init__(self, per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._windows = FixedWindowRateLimiter(MemoryStorage())

    def count(self, client: str) -> None:
        """Count one request.

        Raises:
            ProblemError: the client's minute is used up.
        """
        if self._limit is None or self._windows.hit(self._limit, client):
            return
        ends = self._windows.get_window_stats(self._limit, client).reset_time
        wait = max(1, math.ceil(ends - time.time()))
        raise ProblemError(
            "too_many_requests",
            "too many requests in this minute",
            found=f"more than {self._limit.amount}",
            expected=f"at most {self._limit.amount} a minute (CO2_API_REQUESTS_PER_MINUTE)",
            next_step=f"ask again in {wait} s; an answer is good for a minute (see ETag)",
            headers={"Retry-After": str(wait)},
        )


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _given_key(headers: Mapping[str, str]) -> str:
    if key := headers.get("x-api-key", ""):
        return key
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _refuse_long_address(scope: Scope) -> None:
    size = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if size > LONGEST_ADDRESS_BYTES:
        raise ProblemError(
            "query_too_long",
            "path and query are too long",
            found=f"{size} bytes",
            expected=f"at most {LONGEST_ADDRESS_BYTES}",
            next_step="the longest request that makes sense is far shorter; see /docs",
        )


async def _with_small_body(headers: Headers, receive: Receive) -> Receive:
    """The rest of the request once its body is known to be small; no more is read than that."""
    length = headers.get("content-length")
    if length is not None and (not length.isdigit() or int(length) > LARGEST_BODY_BYTES):
        raise _too_large(f"{length} bytes")
    if length in (None, "0") and "transfer-encoding" not in headers:
        return receive
    read = 0
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while True:
                message = await receive()
                read += len(message.get("body", b""))
                if read > LARGEST_BODY_BYTES:
                    raise _too_large(f"more than {LARGEST_BODY_BYTES} bytes")
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
    except TimeoutError:
        raise ProblemError(
            "request_timeout",
            f"the body did not come within {BODY_WITHIN_S:.0f} s",
            next_step="send no body",
            headers={"Connection": "close"},
        ) from None
    return _emptied(receive)


def _too_large(found: str) -> ProblemError:
    return ProblemError(
        "body_too_large",
        "no route reads a body",
        found=found,
        expected=f"none, or at most {LARGEST_BODY_BYTES} bytes",
        next_step="send parameters in the query",
        headers={"Connection": "close"},
    )


def _emptied(receive: Receive) -> Receive:
    """What is received after the body: an empty body first, since the real one is read."""
    first: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def rest() -> Message:
        return first.pop() if first else await receive()

    return rest


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline';"
    " frame-ancestors 'none'",
}


class Secured:
    """Adds the security headers to every answer, and answers HEAD as GET without its body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [
            (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and what comes back with more headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"} if is_head else scope, receive, secured)
