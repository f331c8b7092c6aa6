"""The client: one method a route, time-outs, few retries, answers kept by their ETag."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from co2_assets.client.answers import (
    About,
    Answer,
    Champion,
    ComparedHour,
    EmissionHour,
    ForecastHour,
    LeadAccuracy,
    LedgerRow,
    ModelVersion,
    Origin,
    QualityFinding,
    Receipt,
    ScoreboardRow,
    Table,
    Window,
    made,
)
from co2_assets.errors import Co2Error, SettingsError

RETRIES = 2
RETRIED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
LONGEST_WAIT_S = 5
"""However long a Retry-After asks for: a caller with more patience asks again."""

ANSWERS_KEPT = 64

T = TypeVar("T")


class Co2ApiError(Co2Error):
    """The API refused, and said why.

    Attributes:
        status: of HTTP.
        code: stable name of the kind of error, such as `window_does_not_fit`; docs/api.md lists
            them. `not_this_api` if the answer is none of its own.
    """

    def __init__(self, what: str, *, status: int, code: str, **more: Any) -> None:
        self.status = status
        self.code = code
        super().__init__(what, **more)


class Co2ApiUnreachable(Co2Error):
    """No answer came: nothing listens there, or not in time."""


class Co2Client:
    """Asks the API of one platform; a context manager, for one thread.

    An answer that has not changed is not sent again (ETag). 429, 503 and lost connections are
    tried again, `RETRIES` times, after at most `LONGEST_WAIT_S` each.

    Args:
        base_url: where the API listens.
        api_key: the value of its `CO2_API_KEY`, where one is set.
        timeout_s: for the connection, and between two parts of an answer.

    Raises:
        SettingsError: `base_url` is no address of HTTP.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        timeout_s: float = 10,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        if not self.base_url.startswith(("http://", "https://")):
            raise SettingsError(
                "the API's address is none of HTTP",
                where="base_url",
                found=base_url,
                expected="such as http://127.0.0.1:8000",
                next_step="begin it with http:// or https://",
            )
        self._timeout_s = timeout_s
        self._kept: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._session = requests.Session()
        if api_key is not None:
            self._session.headers["X-API-Key"] = api_key
        self._session.mount(self.base_url, HTTPAdapter(max_retries=_patience(RETRIES)))
        # A platform that is not well says so by 503: waiting does not make it well.
        self._session.mount(self.base_url + "/health", HTTPAdapter(max_retries=_patience(0)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def next_hours(self) -> Table[ForecastHour]:
        """The current hour and the five after it, from the newest forecast."""
        return self._table("/next-6h-predictions", ForecastHour)

    def last_24h(self) -> Table[EmissionHour]:
        """What was measured in the last 24 hours that are known."""
        return self._table("/last-24h-emissions", EmissionHour)

    def last_6h_compared(self) -> Table[ComparedHour]:
        """The last six measured hours, each beside the newest forecast that was made of it."""
        return self._table("/last-6h-predictions-vs-actual", ComparedHour)

    def forecast(
        self,
        issue_time: datetime | None = None,
        *,
        as_of: datetime | None = None,
        leads: int | None = None,
    ) -> Table[ForecastHour]:
        """One whole forecast: the newest, the one of an issue time, or the one known `as_of`."""
        return self._table(
            "/forecasts", ForecastHour, issue_time=issue_time, as_of=as_of, leads=leads
        )

    def greenest_window(
        self,
        duration: int = 1,
        *,
        earliest: datetime | None = None,
        deadline: datetime | None = None,
        contiguous: bool = True,
        quantile: float | None = None,
    ) -> Answer[Window]:
        """The coming hours with the least CO2 for a job of `duration` hours.

        Without a quantile the platform's rule decides.

        Raises:
            Co2ApiError: `window_does_not_fit`, with the reason.
        """
        return self._one(
            "/greenest-window",
            Window,
            duration=duration,
            earliest=earliest,
            deadline=deadline,
            contiguous=contiguous,
            quantile=quantile,
        )

    def window_receipts(
        self,
        *,
        duration: int | None = None,
        within: int | None = None,
        limit: int | None = None,
    ) -> Table[Receipt]:
        """What past advice was worth, the newest first."""
        return self._table(
            "/window-receipts", Receipt, duration=duration, within=within, limit=limit
        )

    def accuracy(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> Table[LeadAccuracy]:
        """How wrong the served forecasts of [start, end) were, by lead."""
        return self._table("/accuracy", LeadAccuracy, start=start, end=end)

    def scoreboard(
        self, *, month: str | None = None, lead: int | None = None, predictor: str | None = None
    ) -> Table[ScoreboardRow]:
        """Champion, versions and baselines by month (`2025-01`) and lead."""
        return self._table(
            "/scoreboard", ScoreboardRow, month=month, lead=lead, predictor=predictor
        )

    def models(self) -> Table[ModelVersion]:
        """Every model version, the newest first."""
        return self._table("/models", ModelVersion)

    def best_model(self) -> Answer[Champion]:
        """The champion.

        Raises:
            Co2ApiError: `no_champion` before the first.
        """
        return self._one("/best-model", Champion)

    def retrain_ledger(self, limit: int | None = None) -> Table[LedgerRow]:
        """Why the model was or was not retrained, the newest decision first."""
        return self._table("/retrain-ledger", LedgerRow, limit=limit)

    def data_quality(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> Table[QualityFinding]:
        """What was wrong with the data of [start, end)."""
        return self._table("/data-quality", QualityFinding, start=start, end=end)

    def explain(self, valid_time: datetime, issue_time: datetime | None = None) -> Answer[Origin]:
        """From one served number back to what it was made from."""
        return self._one("/explain", Origin, valid_time=valid_time, issue_time=issue_time)

    def health(self) -> About:
        """The provenance of a platform that is well.

        Raises:
            Co2ApiError: `stale` when forecast or data are too old.
        """
        about, _ = self._ask("/health", {}, lambda status: status)
        return about

    def _table(self, path: str, row_type: type[T], **parameters: Any) -> Table[T]:
        def read(data: list[dict[str, Any]]) -> tuple[T, ...]:
            return tuple(made(row_type, row) for row in data)

        about, rows = self._ask(path, parameters, read)
        return Table(about, rows, row_type)

    def _one(self, path: str, kind: type[T], **parameters: Any) -> Answer[T]:
        about, data = self._ask(path, parameters, lambda raw: made(kind, raw))
        return Answer(about, data)

    def _ask(
        self, path: str, parameters: dict[str, Any], read: Callable[[Any], T]
    ) -> tuple[About, T]:
        given = {
            name: _text(name, value) for name, value in parameters.items() if value is not None
        }
        request = requests.Request("GET", self.base_url + path, params=given)
        prepared = self._session.prepare_request(request)
        kept = self._kept.get(str(prepared.url))
        if kept is not None:
            prepared.headers["If-None-Match"] = kept[0]
        response = self._send(prepared)
        if kept is not None and response.status_code == HTTPStatus.NOT_MODIFIED:
            body = kept[1]
        elif response.status_code == HTTPStatus.OK:
            body = response.content
            self._keep(response, body)
        else:
            raise _refusal(response)
        try:
            answer = json.loads(body)
            return made(About, answer["about"]), read(answer["data"])
        except (ValueError, TypeError, KeyError) as error:
            raise _not_this_api(response) from error

    def _send(self, prepared: requests.PreparedRequest) -> requests.Response:
        try:
            settings = self._session.merge_environment_settings(prepared.url, {}, None, None, None)
            # A redirect would carry the key elsewhere; the API has none.
            return self._session.send(
                prepared, timeout=self._timeout_s, allow_redirects=False, **settings
            )
        except requests.RequestException as error:
            raise Co2ApiUnreachable(
                "the API does not answer",
                where=str(prepared.url),
                found=type(error).__name__,
                expected=f"an answer within {self._timeout_s:g} s",
                next_step="start it with `co2 api`, or give its address as base_url",
            ) from error

    def _keep(self, response: requests.Response, body: bytes) -> None:
        etag = response.headers.get("ETag")
        if etag is None:
            return
        self._kept[response.url] = (etag, body)
        self._kept.move_to_end(response.url)
        while len(self._kept) > ANSWERS_KEPT:
            self._kept.popitem(last=False)


def _patience(retries: int) -> Retry:
    return Retry(
        total=retries,
        status_forcelist=RETRIED,
        backoff_factor=0.3,
        respect_retry_after_header=True,
        retry_after_max=LONGEST_WAIT_S,
        raise_on_status=False,
    )


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, datetime):
        return str(value)
    if value.tzinfo is None:
        raise ValueError(
            f"{name} has no time zone: {value.isoformat()}; say which, such as"
            " datetime(2025, 1, 18, 6, tzinfo=UTC)"
        )
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _refusal(response: requests.Response) -> Co2ApiError:
    try:
        problem = response.json()
        return Co2ApiError(
            problem["detail"],
            status=response.status_code,
            code=problem["code"],
            where=problem.get("where"),
            found=problem.get("found"),
            expected=problem.get("expected"),
            next_step=problem.get("next_step"),
        )
    except (ValueError, TypeError, KeyError):
        return _not_this_api(response)


def _not_this_api(response: requests.Response) -> Co2ApiError:
    return Co2ApiError(
        "the answer is not of this API, or of another version",
        status=response.status_code,
        code="not_this_api",
        where=response.url,
        found=f"status {response.status_code}, {response.headers.get('Content-Type', 'no type')}",
        expected="JSON with about and data, or a problem with code and detail",
        next_step="look whether base_url is that of `co2 api`, of the version of this client",
    )
