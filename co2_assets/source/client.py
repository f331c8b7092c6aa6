"""The client of Energi Data Service: one request per call, with time-outs and retries.

Limits are per dataset and answered with 429 and Retry-After; the platform sends one
request a dataset a tick. Times are absolute and UTC: the API's dynamic `now` is Danish
time even with `timezone=UTC`.
"""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import DecodeError, HTTPError, InvalidHeader
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from co2_assets.errors import SourceMalformed, SourceRefused, SourceUnreachable
from co2_assets.source.datasets import Dataset

TIME_FORMAT = "%Y-%m-%dT%H:%M"
PACKET_BYTES = 1 << 15
GZIP = 16
"""Added to the window size, it has zlib read gzip."""
RETRIED = (429, 500, 502, 503, 504)
BACKOFF_S = 0.3
SHOWN_BODY = 200

OnWait = Callable[[str, float], None]


@dataclass(frozen=True)
class Reply:
    """What the API answered to one request, decoded but not yet judged."""

    dataset: Dataset
    url: str
    start: datetime
    end: datetime
    body_sha256: str
    bytes_read: int
    records: list[dict[str, Any]]


class _PatientRetry(Retry):
    """A Retry that says how long it waits, and gives up on a Retry-After that is too long."""

    dataset_name: str = ""
    on_wait: OnWait | None = None
    retry_after_limit: float = 0.0

    def new(self, **kw: Any) -> Self:
        """Carry what this class adds from one attempt to the next."""
        following = super().new(**kw)
        following.dataset_name = self.dataset_name
        following.on_wait = self.on_wait
        following.retry_after_limit = self.retry_after_limit
        return following

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Count an attempt, unless the server asks for more patience than we have."""
        if response is not None:
            wait = self.get_retry_after(response)
            if wait is not None and wait > self.retry_after_limit:
                response.close()
                raise _TooLongToWait(response.status, wait)
        following = super().increment(method, url, response, error, _pool, _stacktrace)
        if response is not None:
            # It would be read to its end before the next attempt, however long that takes.
            response.close()
        return following

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """The wait asked for in seconds; None also where the header cannot be read."""
        try:
            return super().get_retry_after(response)
        except InvalidHeader:
            return None

    def sleep_for_retry(self, response: BaseHTTPResponse) -> bool:
        """Wait as asked, and say so first."""
        wait = self.get_retry_after(response)
        if wait and self.on_wait:
            self.on_wait(self.dataset_name, wait)
        return super().sleep_for_retry(response)


class _TooLongToWait(HTTPError):
    def __init__(self, status: int, seconds: float) -> None:
        self.status = status
        self.seconds = seconds
        super().__init__(f"Retry-After of {seconds:g} s")


class _TooSlow(HTTPError):
    def __init__(self, received: int, seconds: float) -> None:
        self.received = received
        self.seconds = seconds
        super().__init__(f"{received} bytes in {seconds:g} s")


class EnergiDataClient:
    """Reads datasets; use as a context manager.

    Args:
        base_url: of the API.
        timeout_s: for connecting, and between two packets.
        deadline_s: for the body of one reply, however its packets come.
        retries: how often a request is sent again after 429, 5xx or no answer.
        retry_after_max_s: the longest Retry-After that is waited for.
        on_wait: told dataset and seconds before such a wait.
    """

    def __init__(
        self,
        *,
        base_url: str,
        timeout_s: float,
        deadline_s: float,
        retries: int,
        retry_after_max_s: float,
        on_wait: OnWait | None = None,
    ) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._retries = retries
        self._retry_after_max_s = retry_after_max_s
        self._on_wait = on_wait
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "co2_assets (open forecasts of Danish CO2)"
        self._session.headers["Accept-Encoding"] = "gzip"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def fetch(
        self,
        dataset: Dataset,
        start: datetime,
        end: datetime,
        progress: Callable[[int], None] | None = None,
    ) -> Reply:
        """Everything that a dataset holds for [start, end).

        Args:
            dataset: what to read.
            start: first time, UTC, on a minute.
            end: exclusive end, UTC, on a minute.
            progress: told the bytes received so far, decoded.

        Raises:
            SourceUnreachable: no answer, none in time, or one that broke off.
            SourceRefused: an error status that stayed, or a Retry-After that is too long.
            SourceMalformed: not JSON, or not the envelope that the API documents.
        """
        self._mount(dataset)
        body, url = self._get(dataset, start, end, progress)
        digest, size = hashlib.sha256(body).hexdigest(), len(body)
        text = _text(dataset, body)
        # A year of minutes is 400 MB: not held twice while its records are made.
        del body
        return Reply(
            dataset=dataset,
            url=url,
            start=start,
            end=end,
            body_sha256=digest,
            bytes_read=size,
            records=_records(dataset, text),
        )

    def _mount(self, dataset: Dataset) -> None:
        retry = _PatientRetry(
            total=self._retries,
            status_forcelist=RETRIED,
            allowed_methods=("GET",),
            backoff_factor=BACKOFF_S,
            respect_retry_after_header=True,
            raise_on_status=False,
        )
        retry.dataset_name = dataset.name
        retry.on_wait = self._on_wait
        retry.retry_after_limit = self._retry_after_max_s
        self._session.mount("http://", HTTPAdapter(max_retries=retry))
        self._session.mount("https://", HTTPAdapter(max_retries=retry))

    def _get(
        self,
        dataset: Dataset,
        start: datetime,
        end: datetime,
        progress: Callable[[int], None] | None,
    ) -> tuple[bytes, str]:
        address = f"{self._base_url}/dataset/{dataset.name}"
        try:
            with self._session.get(
                address, params=_query(dataset, start, end), timeout=self._timeout_s, stream=True
            ) as response:
                body = _read(response, self._deadline_s, progress)
                if response.status_code != requests.codes.ok:
                    raise _refused(dataset, response, body)
                return body, response.url
        except _TooLongToWait as error:
            raise _too_long(dataset, error) from error
        except _TooSlow as error:
            raise SourceUnreachable(
                "the reply came too slowly",
                dataset=dataset.name,
                found=f"{error.received:,} bytes in {error.seconds:.1f} s, and no end of it",
                expected=f"the whole reply within {self._deadline_s:g} s",
                next_step="the next tick asks again, for all that is missing",
            ) from error
        except (requests.RequestException, HTTPError) as error:
            waited = _cause(error, _TooLongToWait)
            if waited is not None:
                raise _too_long(dataset, waited) from error
            raise SourceUnreachable(
                "no answer from the API",
                dataset=dataset.name,
                found=f"{type(error).__name__}: {error}",
                expected=f"an answer from {self._base_url} within {self._timeout_s:g} s",
                next_step="the next tick asks again, for all that is missing",
            ) from error


def _query(dataset: Dataset, start: datetime, end: datetime) -> dict[str, str]:
    query = {
        "start": start.astimezone(UTC).strftime(TIME_FORMAT),
        "end": end.astimezone(UTC).strftime(TIME_FORMAT),
        "timezone": "UTC",
        "sort": dataset.sort,
        "limit": "0",
    }
    if dataset.names_columns:
        query["columns"] = ",".join(field.api_name for field in dataset.fields)
    if dataset.filters:
        query["filter"] = json.dumps(dataset.filters, separators=(",", ":"))
    return query


def _read(
    response: requests.Response, deadline_s: float, progress: Callable[[int], None] | None
) -> bytes:
    """The body, decoded; raises urllib3's errors, and `_TooSlow` after the deadline."""
    started = time.monotonic()
    decode = _decoder(response)
    chunks, total = [], 0
    # Packet by packet, and decoded here: urllib3 would wait for as many packets as it takes
    # to fill a chunk, or to decode one byte, beyond any deadline.
    while packet := response.raw.read1(PACKET_BYTES, decode_content=False):
        chunks.append(decode(packet))
        total += len(chunks[-1])
        if progress:
            progress(total)
        elapsed = time.monotonic() - started
        if elapsed > deadline_s:
            raise _TooSlow(total, elapsed)
    chunks.append(decode(b""))
    return b"".join(chunks)


def _decoder(response: requests.Response) -> Callable[[bytes], bytes]:
    """Decodes packet by packet; an empty one is the end."""
    if response.headers.get("Content-Encoding", "").lower() != "gzip":
        return lambda packet: packet
    stream = zlib.decompressobj(zlib.MAX_WBITS | GZIP)

    def unzip(packet: bytes) -> bytes:
        try:
            piece = stream.decompress(packet)
        except zlib.error as error:
            raise DecodeError(f"the reply is not gzip: {error}") from error
        if not packet and not stream.eof:
            raise DecodeError("the gzip of the reply ends early")
        return piece

    return unzip


def _cause(error: BaseException, kind: type[_TooLongToWait]) -> _TooLongToWait | None:
    """The wrapped error of a kind: requests and urllib3 wrap each other's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, kind):
            return seen
        wrapped = [arg for arg in seen.args if isinstance(arg, BaseException)]
        seen = seen.__cause__ or seen.__context__ or (wrapped[0] if wrapped else None)
    return None


def _too_long(dataset: Dataset, asked: _TooLongToWait) -> SourceRefused:
    seconds = asked.seconds
    return SourceRefused(
        "the API asks for more patience than this load has",
        dataset=dataset.name,
        status_code=asked.status,
        retry_after_s=seconds,
        found=f"status {asked.status}, Retry-After {seconds:g} s",
        next_step=f"ask again in {seconds:g} s; the next tick does",
    )


def _refused(dataset: Dataset, response: requests.Response, body: bytes) -> SourceRefused:
    wait = response.headers.get("Retry-After")
    return SourceRefused(
        f"the API refused the request with status {response.status_code}",
        dataset=dataset.name,
        status_code=response.status_code,
        retry_after_s=float(wait) if wait and wait.isdigit() else None,
        found=body[:SHOWN_BODY].decode(errors="replace").strip() or "an empty body",
        expected="status 200",
        next_step="the next tick asks again, for all that is missing",
    )


def _text(dataset: Dataset, body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceMalformed(
            "the reply is not text",
            dataset=dataset.name,
            found=f"{len(body)} bytes, {body[:40]!r}: {error}",
            expected="UTF-8",
            next_step="the next tick asks again, for all that is missing",
        ) from error


def _records(dataset: Dataset, text: str) -> list[dict[str, Any]]:
    try:
        envelope = json.loads(text, strict=False, parse_constant=_NotANumber)
    except (ValueError, RecursionError) as error:
        raise SourceMalformed(
            "the reply is not JSON",
            dataset=dataset.name,
            found=f"{len(text)} characters, {text[:80]!r}: {error}",
            expected="one JSON object",
            next_step="the next tick asks again, for all that is missing",
        ) from error
    records = envelope.get("records") if isinstance(envelope, dict) else None
    if not isinstance(records, list):
        raise SourceMalformed(
            "the reply has no records",
            dataset=dataset.name,
            field="records",
            found=text[:80],
            expected="an object with a list `records`",
        )
    total = envelope.get("total")
    if isinstance(total, int) and total != len(records):
        raise SourceMalformed(
            "the reply is cut short",
            dataset=dataset.name,
            field="total",
            found=f"{len(records)} records",
            expected=f"{total}, as the reply itself says",
        )
    return records


class _NotANumber(str):
    """NaN or Infinity, which Python reads and JSON does not have.

    Kept as text, so that the parser refuses it with dataset, field and row.
    """

    __slots__ = ()
