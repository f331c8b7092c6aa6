"""Prometheus metrics: what is forecast and measured, how old it is, and how the API does."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from co2_assets.errors import SettingsError, WarehouseError
from co2_assets.schema import AREA, CO2_COLUMN, QUANTILE_COLUMNS, QUANTILES
from co2_assets.serving.api.reading import Look, Reader
from co2_assets.serving.contract import About, last_hours, newest_forecast

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The metrics of one API, in a registry of their own."""

    def __init__(self, reader: Reader) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Published(reader))
        self.requests = Counter(
            "co2_api_requests",
            "Requests answered.",
            ("route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "co2_api_request_seconds",
            "Time from a request to the end of its answer.",
            ("route",),
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )

    def response(self) -> Response:
        """All of them, in Prometheus' text format."""
        return Response(
            generate_latest(self._registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"},
        )


class Measured:
    """Counts and times every request; the outermost layer, so that refusals count as well."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Paths that nobody serves share one label: a client must not make labels.
        route = scope["path"] if scope["path"] in self._paths else "other"
        status = 500
        started = time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)


class _Published(Collector):
    """What the newest generation says, read when Prometheus asks."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._collected: tuple[About, list[Metric]] | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not open the published copy."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The gauges; without a published copy only that there is none."""
        try:
            with self._reader.look() as look:
                if self._collected is None or self._collected[0] != look.about:
                    self._collected = (look.about, list(_gauges(look)))
                yield from self._collected[1]
        except (WarehouseError, SettingsError):
            yield _gauge("co2_published_generation", "Number of the published copy; 0: none.", 0)
            yield _gauge("co2_is_stale", "1 if data or forecast are too old, or lacking.", 1)


def _gauges(look: Look) -> Iterator[Metric]:
    about = look.about
    yield _gauge(
        "co2_published_generation", "Number of the published copy; 0: none.", about.generation
    )
    yield _gauge("co2_is_stale", "1 if data or forecast are too old, or lacking.", about.is_stale)
    yield from _time(
        "co2_forecast_issue_time_seconds",
        "Issue time of the newest served forecast, Unix time.",
        about.issue_time_utc,
    )
    if about.forecast_age_minutes is not None:
        yield _gauge(
            "co2_forecast_age_seconds",
            "Platform's time less the issue time of the newest served forecast.",
            60 * about.forecast_age_minutes,
        )
    if about.data_age_minutes is not None:
        yield _gauge(
            "co2_data_age_seconds",
            "Platform's time less the end of the newest measured hour.",
            60 * about.data_age_minutes,
        )
    yield _forecast(look)
    yield from _actual(look)


def _forecast(look: Look) -> Metric:
    metric = GaugeMetricFamily(
        "co2_forecast_g_per_kwh",
        "Newest served forecast of the CO2 emission by lead and quantile, g/kWh.",
        labels=("area", "lead_hours", "quantile"),
    )
    for row in newest_forecast(look.con).iter_rows(named=True):
        for quantile, column in zip(QUANTILES, QUANTILE_COLUMNS, strict=True):
            metric.add_metric((AREA, str(row["lead_hours"]), str(quantile)), row[column])
    return metric


def _actual(look: Look) -> Iterator[Metric]:
    """The newest hour of the last day that is complete and ok; none is better than an older one."""
    known = last_hours(look.con, look.now, 24).drop_nulls(CO2_COLUMN)
    if known.is_empty():
        return
    newest = known.row(-1, named=True)
    metric = GaugeMetricFamily(
        "co2_actual_g_per_kwh", "CO2 emission of the newest known hour, g/kWh.", labels=("area",)
    )
    metric.add_metric((AREA,), newest[CO2_COLUMN])
    yield metric
    yield from _time(
        "co2_actual_hour_seconds", "Beginning of that hour, Unix time.", newest["hour_utc"]
    )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=float(value))


def _time(name: str, meaning: str, time_utc: datetime | None) -> Iterator[Metric]:
    if time_utc is not None:
        yield _gauge(name, meaning, time_utc.timestamp())
