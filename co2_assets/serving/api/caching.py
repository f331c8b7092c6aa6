"""Answers kept in memory: one generation, one minute and one request have one answer.

Everything that a kept answer says is decided by those three, so a hit is as right as a new
answer. A publication or a new minute leads to other keys; old answers fall out of the end.

Opening a generation and making every answer anew takes longer than a busy client may wait. So
where requests come one upon the other, the former answer to a request is given until those that
are asked for most are made anew, two seconds at most: as if the generation had been published
that much later. No request is ever answered from an older generation than before.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from co2_assets.errors import SettingsError
from co2_assets.serving.api.clock import Clock
from co2_assets.serving.generations import Generations

MOST_BYTES = 64 * 2**20
MOST_ANSWERS = 1024
LARGEST_BYTES = 4 * 2**20

GZIP_FROM_BYTES = 1024
IN_THREAD_FROM_BYTES = 128 * 2**10
"""Compressing this takes longer than handing it to a thread."""

UNSURE_FOR_S = 1.0
"""An answer from an older generation, since the newest could not be read, is kept so long."""

BUSY_WITHIN_S = 0.05
"""Requests that come closer than this are a busy client's; after a pause nothing old is given."""

BEHIND_S = 2.0
"""How far behind a publication, or a new minute, an answer may be at most."""

WARMED = 64
"""Answers, used last, that are made anew before they are asked for."""

PAUSE_S = 0.01
"""Between two of them: on two processors, answers that are asked for come first."""

UNKEPT = frozenset({"/health", "/metrics"})
STEADY = frozenset({"/", "/docs", "/openapi.json"})
"""Paths whose answer does not change while the process runs."""

VARY = b"Accept, Accept-Encoding"


class Moment(NamedTuple):
    """A published generation at a minute; both are None for what never changes."""

    generation: int | None
    now: datetime | None


ALWAYS = Moment(None, None)


class Key(NamedTuple):
    """What decides an answer: generation and minute, and the request."""

    moment: Moment
    path: str
    query: tuple[tuple[str, str], ...]
    accept: str


@dataclass
class Kept:
    """One rendered answer with status 200."""

    body: bytes
    headers: list[tuple[bytes, bytes]]
    etag: str
    good_until: float
    scope: Scope
    """Of the request that it answered, to make it anew."""
    zipped: bytes | None = field(default=None)

    @property
    def size(self) -> int:
        """Bytes that it holds, about."""
        return len(self.body) + len(self.zipped or b"") + 2048


class Answers:
    """The answers used last, bounded in number and in bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key) -> Kept | None:
        """The answer of a key, while it is good."""
        found = self._kept.get(key)
        if found is None or found.good_until < time.monotonic():
            return None
        self._kept.move_to_end(key)
        return found

    def used_last(self, most: int) -> list[tuple[Key, Kept]]:
        """The newest answer to each of the requests that came last, the latest first."""
        found: dict[tuple[object, ...], tuple[Key, Kept]] = {}
        for key, kept in reversed(self._kept.items()):
            if key.moment != ALWAYS and len(found) < most:
                found.setdefault(key[1:], (key, kept))
        return [*found.values()]

    def put(self, key: Key, answer: Kept) -> None:
        """Keep an answer, at the cost of those that were not used for longest."""
        former = self._kept.pop(key, None)
        self._bytes += answer.size - (former.size if former else 0)
        self._kept[key] = answer
        while self._bytes > MOST_BYTES or len(self._kept) > MOST_ANSWERS:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.size

    def grown(self, by: int) -> None:
        """Count what a kept answer has grown by."""
        self._bytes += by


class Caching:
    """Answers from memory where it can; adds ETag, Cache-Control, Vary, gzip and 304."""

    def __init__(
        self,
        app: ASGIApp,
        generations: Generations,
        clock: Clock,
        *,
        is_virtual: bool,
        shared: bool,
    ) -> None:
        self._app = app
        self._generations = generations
        self._clock = clock
        self._is_virtual = is_virtual
        self._scope = "public" if shared else "private"
        self._answers = Answers()
        self._under_way: dict[Key, asyncio.Event] = {}
        self._moments = _Moments()
        self._warming: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or pass on and keep what comes."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] in UNKEPT:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = self._key(scope, headers)
        if key is None:
            await self._app(scope, receive, send)
            return
        kept = self._answers.get(key)
        if kept is None and key in self._under_way:
            await self._under_way[key].wait()
            kept = self._answers.get(key)
        if kept is None:
            kept = await self._made(key, scope, receive, send)
        if kept is not None:
            await self._send(kept, key, headers, send)

    def _key(self, scope: Scope, headers: Headers) -> Key | None:
        """The key of a request; None where the platform has no time."""
        path = scope["path"]
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        request = (path, tuple(sorted(query)), headers.get("accept", ""))
        if path in STEADY:
            return Key(ALWAYS, *request)
        try:
            newest = Moment(self._generations.newest(), self._clock())
        except SettingsError:
            return None
        key = Key(self._moments.served(newest), *request)
        if key.moment != newest:
            self._warm(key.moment, newest)
            if self._answers.get(key) is None:
                key = key._replace(moment=newest)  # nothing is made of the former any more
        scope.setdefault("state", {})["now"] = key.moment.now
        return key

    def _warm(self, former: Moment, newest: Moment) -> None:
        """Begin to make the most used answers from what is newest, if that is not under way."""
        if self._warming is None or self._warming.done():
            self._warming = asyncio.create_task(self._warmed(former, newest))

    async def _warmed(self, former: Moment, newest: Moment) -> None:
        try:
            for key, kept in self._answers.used_last(WARMED):
                again = key._replace(moment=newest)
                if self._answers.get(again) is None:
                    scope = {**kept.scope, "state": {"now": newest.now}}
                    made = await self._made(again, scope, _nothing, _nowhere)
                    if made is not None and kept.zipped is not None:
                        await self._zipped(made)
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._moments.turn(former, newest)

    async def _made(self, key: Key, scope: Scope, receive: Receive, send: Send) -> Kept | None:
        """A new answer, kept; None if it is no 200 and has been sent as it is."""
        first = key not in self._under_way
        done = self._under_way.setdefault(key, asyncio.Event())
        try:
            return await self._caught(key, scope, receive, send)
        finally:
            if first:
                del self._under_way[key]
                done.set()

    async def _caught(self, key: Key, scope: Scope, receive: Receive, send: Send) -> Kept | None:
        asked = {**scope, "headers": [(b"accept", key.accept.encode("latin-1"))]}
        start: Message = {}
        parts: list[bytes] = []

        async def catch(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                if message["status"] == HTTPStatus.OK:
                    return
            elif start["status"] == HTTPStatus.OK:
                parts.append(message.get("body", b""))
                return
            await send(message)

        await self._app(scope, receive, catch)
        if start["status"] != HTTPStatus.OK:
            return None
        body = b"".join(parts)
        is_of_key = (
            key.moment == ALWAYS or scope["state"].get("generation") == key.moment.generation
        )
        kept = Kept(
            body,
            [(name, value) for name, value in start["headers"] if name != b"content-length"],
            hashlib.blake2b(body, digest_size=12).hexdigest(),
            float("inf") if is_of_key else time.monotonic() + UNSURE_FOR_S,
            asked,
        )
        if kept.size <= LARGEST_BYTES:
            self._answers.put(key, kept)
        return kept

    async def _send(self, kept: Kept, key: Key, headers: Headers, send: Send) -> None:
        zips = len(kept.body) >= GZIP_FROM_BYTES and _accepts_gzip(
            headers.get("accept-encoding", "")
        )
        # Another encoding is another representation: it has a strong ETag of its own.
        etag = f'"{kept.etag}-gzip"' if zips else f'"{kept.etag}"'
        sent = [
            (b"etag", etag.encode()),
            (b"cache-control", self._cache_control(key).encode()),
            (b"vary", VARY),
        ]
        if _matches(headers.get("if-none-match"), kept.etag):
            shown = [pair for pair in kept.headers if pair[0] != b"content-type"]
            await send({"type": "http.response.start", "status": 304, "headers": [*shown, *sent]})
            await send({"type": "http.response.body", "body": b""})
            return
        body = await self._zipped(kept) if zips else kept.body
        if zips:
            sent.append((b"content-encoding", b"gzip"))
        sent.append((b"content-length", str(len(body)).encode()))
        await send(
            {"type": "http.response.start", "status": 200, "headers": [*kept.headers, *sent]}
        )
        await send({"type": "http.response.body", "body": body})

    async def _zipped(self, kept: Kept) -> bytes:
        if kept.zipped is None:
            if len(kept.body) < IN_THREAD_FROM_BYTES:
                zipped = gzip.compress(kept.body, 6, mtime=0)
            else:
                zipped = await run_in_threadpool(gzip.compress, kept.body, 6, mtime=0)
            if kept.zipped is None:
                kept.zipped = zipped
                self._answers.grown(len(zipped))
        return kept.zipped

    def _cache_control(self, key: Key) -> str:
        if key.moment == ALWAYS:
            return "public, max-age=300"
        if self._is_virtual:
            # Virtual time jumps by hours: nobody can tell for how long an answer is good.
            return f"{self._scope}, no-cache"
        return f"{self._scope}, max-age={60 - int(time.time()) % 60}, must-revalidate"


class _Moments:
    """Which moment is answered for: the newest, or for a little while the one before."""

    def __init__(self) -> None:
        self._served: Moment | None = None
        self._asked_at = self._confirmed_at = float("-inf")

    def served(self, newest: Moment) -> Moment:
        """The moment to answer a request for, which comes now."""
        now = time.monotonic()
        is_busy = now - self._asked_at < BUSY_WITHIN_S and now - self._confirmed_at < BEHIND_S
        self._asked_at = now
        if self._served is None or not is_busy:
            self._served = newest
        if self._served == newest:
            self._confirmed_at = now
        return self._served

    def turn(self, former: Moment, newest: Moment) -> None:
        """Answer for the newer moment from now on, if it still is the former that is served."""
        if self._served == former:
            self._served = newest


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nowhere(_message: Message) -> None:
    """Where an error goes that nobody asked for: whoever asks next meets it."""


def _accepts_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        if coding in ("gzip", "*"):
            return not any(parameter in ("q=0", "q=0.0", "q=0.00") for parameter in parameters)
    return False


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    given = (tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(","))
    return any(tag in ("*", etag, f"{etag}-gzip") for tag in given)
