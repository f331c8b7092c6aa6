"""Loading one dataset for one window: what is missing, the requests, the merge, the audit.

The same code serves the raw assets and `co2 fetch`. Each request is stored, with its
coverage, before the next is sent: a load that fails half-way loses nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from co2_assets.errors import SourceError
from co2_assets.schema import (
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    POWER_SYSTEM,
    WIND_SOLAR_FORECASTS,
    Table,
)
from co2_assets.settings import Settings
from co2_assets.source.archive import read_archive
from co2_assets.source.client import EnergiDataClient, Reply
from co2_assets.source.datasets import (
    CO2_EMIS_PROG,
    FORECASTS_HOUR,
    POWER_SYSTEM_RIGHT_NOW,
    Dataset,
)
from co2_assets.source.parse import Parsed, parse
from co2_assets.source.prices import price_spans
from co2_assets.source.publication import with_availability
from co2_assets.warehouse import raw
from co2_assets.warehouse.raw import EtlRun, Span
from co2_assets.warehouse.store import Warehouse
from co2_assets.warehouse.upsert import Counts

MEASURED = (POWER_SYSTEM,)
"""Tables of what has happened: asked up to the window's end, never beyond."""

FIRST_LOAD_DAYS = 60
"""A span longer than this is a first load: two requests, and patience with Retry-After."""

SPLIT_DAYS = 400
"""A span longer than this is asked for in two halves."""

Request = tuple[Dataset, datetime, datetime]


@dataclass
class LoadReport:
    """What a load did, for metadata, checks and the terminal."""

    table: Table
    rows_read: int = 0
    rows_new: int = 0
    rows_revised: int = 0
    rows_unchanged: int = 0
    rows_rejected: int = 0
    bytes_read: int = 0
    unknown_columns: tuple[str, ...] = ()
    urls: list[str] = field(default_factory=list)
    error: SourceError | None = None

    @property
    def status(self) -> str:
        """`ok`, or `source_failed` when nothing more could be had."""
        return "source_failed" if self.error else "ok"


@dataclass(frozen=True)
class Loader:
    """Loads datasets into one warehouse.

    Args:
        warehouse: where to.
        settings: where from, and how much.
        now: the platform's clock.
        run_id: Dagster run or command, for the audit.
        say: told what goes on, line by line.
    """

    warehouse: Warehouse
    settings: Settings
    now: Callable[[], datetime]
    run_id: str
    say: Callable[[str], None]

    def load(self, table: Table, window: Span) -> LoadReport:
        """Fetch a window with its overlap and whatever is missing before it.

        A failing source ends the load: the report carries the error, the audit has it,
        and what earlier requests brought stays stored.
        """
        report = LoadReport(table)
        span, lacks_archive = self._plan(table, window)
        if lacks_archive:
            self._load_archive(report)
        patience = (
            self.settings.retry_after_first_load_s
            if span[1] - span[0] > timedelta(days=FIRST_LOAD_DAYS)
            else self.settings.retry_after_tick_s
        )
        with EnergiDataClient(
            base_url=self.settings.base_url,
            timeout_s=self.settings.request_timeout_s,
            deadline_s=self.settings.reply_deadline_s,
            retries=self.settings.request_retries,
            retry_after_max_s=patience,
            on_wait=lambda dataset, seconds: self.say(
                f"{dataset}: the server asks us to wait {seconds:.0f} s"
            ),
        ) as client:
            for dataset, start, end in plan_requests(table, span):
                try:
                    self._request(client, report, dataset, start, end, window)
                except SourceError as error:
                    report.error = error
                    break
        return report

    def _plan(self, table: Table, window: Span) -> tuple[Span, bool]:
        """The span to ask for, and whether the shipped archive has to be taken in first."""
        start, end = window
        ahead = 0 if table in MEASURED else self.settings.forecast_ahead_hours
        overlap = start - timedelta(hours=self.settings.overlap_hours)
        asked_until = end + timedelta(hours=ahead)
        with self.warehouse.read(f"what {table.qualified_name} lacks") as con:
            if table is CO2_PROGNOSIS:
                # The API's history of it is overwritten: what was not seen in time never counts.
                return (overlap, asked_until), not raw.archive_is_loaded(con)
            history = self._history_start()
            missing = [begin for begin, _ in raw.uncovered(con, table, history, end)]
        # Before a window that failed, too, what came last may have been revised meanwhile.
        back = [begin - (start - overlap) for begin in missing if begin > history]
        return (min([overlap, *missing, *back]), asked_until), False

    def _history_start(self) -> datetime:
        first = self.settings.first_window
        if first is None:
            raise ValueError("a home must have its first window; see home.ensure_home")
        days = self.settings.training_days + self.settings.feature_history_days
        return first - timedelta(days=days)

    def _request(
        self,
        client: EnergiDataClient,
        report: LoadReport,
        dataset: Dataset,
        start: datetime,
        end: datetime,
        window: Span,
    ) -> None:
        started_at, started = self.now(), time.monotonic()
        reply: Reply | None = None
        try:
            with _progress(self.say, dataset, end - start) as progress:
                reply = client.fetch(dataset, start, end, progress)
            parsed = parse(reply)
        except SourceError as error:
            self._record_failure(report, dataset, (start, end), reply, error, started_at, started)
            raise
        if parsed.unknown_columns:
            self.say(f"{dataset.name}: unknown columns kept out: {parsed.unknown_columns}")
        etl_run_id = str(uuid.uuid4())
        rows = _stamped(report.table, parsed, started_at, etl_run_id)
        with self.warehouse.write(f"load {report.table.qualified_name}", self.run_id) as tx:
            counts = (
                raw.store_replacing(tx, report.table, rows)
                if report.table in MEASURED
                else raw.store_vintages(tx, report.table, rows)
            )
            covered_until = min(end, window[1])
            if covered_until > start:
                raw.add_coverage(tx, report.table, start, covered_until)
            raw.record_etl_run(
                tx,
                self._etl_run(
                    report,
                    dataset,
                    (start, end),
                    started_at,
                    started,
                    etl_run_id=etl_run_id,
                    status="ok",
                    reply=reply,
                    parsed=parsed,
                    counts=counts,
                ),
            )
        _add(report, reply, parsed, counts)
        self.say(
            f"{dataset.name}: {parsed.rows_read:,} rows read, {counts.new:,} new,"
            f" {counts.revised:,} revised, in {time.monotonic() - started:.1f} s"
        )

    def _record_failure(
        self,
        report: LoadReport,
        dataset: Dataset,
        span: Span,
        reply: Reply | None,
        error: SourceError,
        started_at: datetime,
        started: float,
    ) -> None:
        self.say(f"{dataset.name}: {error}")
        with self.warehouse.write(f"failed load {report.table.qualified_name}", self.run_id) as tx:
            raw.record_etl_run(
                tx,
                self._etl_run(
                    report,
                    dataset,
                    span,
                    started_at,
                    started,
                    etl_run_id=str(uuid.uuid4()),
                    status="source_failed",
                    reply=reply,
                    error=error,
                ),
            )
        if reply is not None:
            report.rows_read += len(reply.records)
            report.rows_rejected += len(reply.records)

    def _etl_run(
        self,
        report: LoadReport,
        dataset: Dataset,
        span: Span,
        started_at: datetime,
        started: float,
        *,
        etl_run_id: str,
        status: str,
        reply: Reply | None,
        parsed: Parsed | None = None,
        counts: Counts | None = None,
        error: SourceError | None = None,
    ) -> EtlRun:
        counts = counts or Counts()
        read = len(reply.records) if reply else 0
        return EtlRun(
            etl_run_id=etl_run_id,
            dataset=dataset.name,
            table_name=report.table.qualified_name,
            status=status,
            source=self.settings.source,
            url=reply.url if reply else self.settings.base_url,
            window_start_utc=span[0],
            window_end_utc=span[1],
            rows_read=read,
            rows_new=counts.new,
            rows_revised=counts.revised,
            rows_unchanged=counts.unchanged,
            rows_rejected=parsed.rows_repeated if parsed else read,
            bytes_read=reply.bytes_read if reply else 0,
            response_sha256=reply.body_sha256 if reply else None,
            started_at_utc=started_at,
            duration_seconds=time.monotonic() - started,
            error=str(error) if error else None,
            error_field=error.field if error else None,
            error_row=error.row if error else None,
            error_found=error.found if error else None,
            error_expected=error.expected if error else None,
            dagster_run_id=self.run_id,
        )

    def _load_archive(self, report: LoadReport) -> None:
        """Store the shipped archive of first-published prognoses, once per home."""
        started_at, started = self.now(), time.monotonic()
        etl_run_id = str(uuid.uuid4())
        archive = read_archive(
            self.settings.recorded_dir, start=self._history_start(), seen_by=started_at
        ).with_columns(
            pl.lit(started_at).dt.cast_time_unit("us").alias("fetched_at_utc"),
            pl.lit(etl_run_id).alias("etl_run_id"),
        )
        with self.warehouse.write("load archive", self.run_id) as tx:
            counts = raw.store_vintages(tx, CO2_PROGNOSIS, archive)
            raw.record_etl_run(
                tx,
                EtlRun(
                    etl_run_id=etl_run_id,
                    dataset="CO2EmisProg",
                    table_name=CO2_PROGNOSIS.qualified_name,
                    status="ok",
                    source="archive",
                    window_start_utc=self._history_start(),
                    window_end_utc=started_at,
                    started_at_utc=started_at,
                    duration_seconds=time.monotonic() - started,
                    rows_read=archive.height,
                    rows_new=counts.new,
                    rows_unchanged=counts.unchanged,
                    dagster_run_id=self.run_id,
                ),
            )
        report.rows_read += archive.height
        report.rows_new += counts.new
        self.say(f"CO2EmisProg: {counts.new:,} first-published values from the archive")


def plan_requests(table: Table, span: Span) -> Iterator[Request]:
    """The requests for a span: one a dataset, two for a long one, the newest first.

    The newest half comes first since it is what a forecast needs.
    """
    parts = (
        price_spans(*span)
        if table is DAY_AHEAD_PRICES
        else [
            (
                {
                    POWER_SYSTEM.name: POWER_SYSTEM_RIGHT_NOW,
                    WIND_SOLAR_FORECASTS.name: FORECASTS_HOUR,
                    CO2_PROGNOSIS.name: CO2_EMIS_PROG,
                }[table.name],
                *span,
            )
        ]
    )
    for dataset, start, end in reversed(parts):
        if end - start > timedelta(days=SPLIT_DAYS):
            middle = (start + (end - start) / 2).replace(minute=0, second=0, microsecond=0)
            yield dataset, middle, end
            yield dataset, start, middle
        else:
            yield dataset, start, end


def _stamped(table: Table, parsed: Parsed, fetched_at: datetime, etl_run_id: str) -> pl.DataFrame:
    """The parsed rows with when they were fetched and from when they may be used."""
    rows = parsed.frame.with_columns(
        pl.lit(fetched_at).dt.cast_time_unit("us").alias("fetched_at_utc"),
        pl.lit(etl_run_id).alias("etl_run_id"),
    )
    return rows if table in MEASURED else with_availability(table, rows, fetched_at)


def _add(report: LoadReport, reply: Reply, parsed: Parsed, counts: Counts) -> None:
    report.rows_read += parsed.rows_read
    report.rows_new += counts.new
    report.rows_revised += counts.revised
    report.rows_unchanged += counts.unchanged
    report.rows_rejected += parsed.rows_repeated
    report.bytes_read += reply.bytes_read
    report.unknown_columns = (*report.unknown_columns, *parsed.unknown_columns)
    report.urls.append(reply.url)


PROGRESS_EVERY_S = 5.0


@contextmanager
def _progress(
    say: Callable[[str], None], dataset: Dataset, span: timedelta
) -> Iterator[Callable[[int], None]]:
    """A callback for received bytes that says rows, rate and time left now and then."""
    started = last_said = time.monotonic()
    expected_rows = dataset.expected_rows(span)

    def received(total: int) -> None:
        nonlocal last_said
        now = time.monotonic()
        if now - last_said < PROGRESS_EVERY_S:
            return
        last_said = now
        rows = total / dataset.typical_row_bytes
        rate = rows / (now - started)
        left = max(expected_rows - rows, 0) / rate if rate else 0
        say(
            f"{dataset.name}: about {rows:,.0f} of {expected_rows:,.0f} rows,"
            f" {rate:,.0f} rows/s, about {left:.0f} s left"
        )

    yield received
