"""Faults that the recorded server injects on request, by a plan file.

A plan is YAML: a list `faults`, each with its `kind`. All of it is deterministic. A fault
acts on one dataset while the virtual clock lies in [active_from, active_to), and on the
first `times` requests of that time, where given (a client's retries count); a fault of the
data acts on rows whose time lies in [data_from, data_to).

Each kind is one small class: `spoil_rows` changes what is served, `spoil_records` what became
of it in JSON, `spoil_reply` how it is answered.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import polars as pl
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from co2_assets.errors import RecordingError
from co2_assets.replay.recordings import SERVED_NUMBERS


class Asked(NamedTuple):
    """The request that a fault acts on."""

    dataset: str
    time_column: str
    now: datetime
    rows_before: Callable[[datetime], pl.DataFrame]
    """The recorded rows of the last time before a moment, with the dataset's columns."""


class Answer(NamedTuple):
    """A reply that a fault puts in place of the honest one."""

    status: int
    body: bytes
    content_type: str = "text/plain"
    headers: dict[str, str] = {}
    delay_s: float = 0.0
    reset_after: int | None = None
    """So many bytes are sent, then the connection is reset."""
    chunk_bytes: int = 0
    """The body is sent in such pieces, `pause_s` after each; at once if 0."""
    pause_s: float = 0.0


class Fault(BaseModel):
    """What all kinds share: when they act, and on what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = "PowerSystemRightNow"
    active_from: datetime | None = None
    active_to: datetime | None = None
    times: int | None = Field(None, ge=1)

    @field_validator("*", mode="after")
    @classmethod
    def _aware(cls, value: Any) -> Any:
        """Times of a plan are UTC."""
        if isinstance(value, datetime):
            return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        return value

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        for known in SERVED_NUMBERS:
            if known.lower() == name.lower():
                return known
        raise ValueError(f"no dataset {name!r}; there are {', '.join(SERVED_NUMBERS)}")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _refuse_disorder("active", self.active_from, self.active_to)
        return self

    def _refuse_unknown(self, column: str) -> None:
        known = SERVED_NUMBERS[self.dataset]
        if column not in known:
            raise ValueError(
                f"{self.dataset} has no column {column!r} of recorded numbers;"
                f" there are {', '.join(known)}"
            )

    def acts(self, asked: Asked) -> bool:
        """Whether this request is in the fault's time."""
        return (
            self.dataset == asked.dataset
            and (self.active_from is None or asked.now >= self.active_from)
            and (self.active_to is None or asked.now < self.active_to)
        )

    def spoil_rows(self, rows: pl.DataFrame, _asked: Asked) -> pl.DataFrame:
        """The rows to serve instead; the honest ones by default."""
        return rows

    def spoil_records(self, records: list[dict[str, Any]], _asked: Asked) -> list[dict[str, Any]]:
        """The records to send instead, sorted and named as asked; the honest ones by default."""
        return records

    def spoil_reply(self, _body: bytes) -> Answer | None:
        """The reply to give instead, or None for the honest one."""
        return None


class DataFault(Fault):
    """A fault of the rows whose time lies in [data_from, data_to)."""

    data_from: datetime
    data_to: datetime

    @model_validator(mode="after")
    def _data_in_order(self) -> Self:
        _refuse_disorder("data", self.data_from, self.data_to)
        return self

    def inside(self, asked: Asked) -> pl.Expr:
        """Whether a row is in the fault's data."""
        return (pl.col(asked.time_column) >= self.data_from) & (
            pl.col(asked.time_column) < self.data_to
        )


def _refuse_disorder(word: str, start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and end <= start:
        raise ValueError(
            f"{word}_from ({start.isoformat()}) must be before {word}_to ({end.isoformat()})"
        )


class ColumnFault(DataFault):
    """A fault of one column in the rows whose time lies in [data_from, data_to)."""

    column: str

    @model_validator(mode="after")
    def _known_column(self) -> Self:
        self._refuse_unknown(self.column)
        return self

    def changed(self, rows: pl.DataFrame, asked: Asked, value: pl.Expr) -> pl.DataFrame:
        """The rows with another value of the column inside the fault's data."""
        return rows.with_columns(
            pl.when(self.inside(asked)).then(value).otherwise(self.column).alias(self.column)
        )


class LateMinutes(DataFault):
    """The rows come only from the virtual time `until` on."""

    kind: Literal["late_minutes"]
    until: datetime

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """Held back until then."""
        return rows if asked.now >= self.until else rows.filter(~self.inside(asked))


class Gap(DataFault):
    """The rows never come."""

    kind: Literal["gap"]

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """Without them."""
        return rows.filter(~self.inside(asked))


class FrozenFeed(DataFault):
    """Every number stands still at its last value before `data_from`."""

    kind: Literal["frozen_feed"]

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """The same numbers again and again."""
        last = asked.rows_before(self.data_from)
        if last.is_empty():
            return rows
        return rows.with_columns(
            pl.when(self.inside(asked)).then(pl.lit(last[name][0])).otherwise(name).alias(name)
            for name, kind in rows.schema.items()
            if kind.is_numeric()
        )


class Spike(ColumnFault):
    """One column leaps: times `factor`, or to `value`."""

    kind: Literal["spike"]
    factor: float = 10.0
    value: float | None = None

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """With the leap."""
        leap = pl.col(self.column) * self.factor if self.value is None else pl.lit(self.value)
        return self.changed(rows, asked, leap)


class LevelShift(ColumnFault):
    """One column stands at another level for long: times `factor`, plus `offset`."""

    kind: Literal["level_shift"]
    factor: float = 1.0
    offset: float = 0.0

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """At that level."""
        return self.changed(rows, asked, pl.col(self.column) * self.factor + self.offset)


class DuplicatedRows(DataFault):
    """The rows come twice, exactly."""

    kind: Literal["duplicated_rows"]

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """And again."""
        return pl.concat([rows, rows.filter(self.inside(asked))])


class ContradictingRows(ColumnFault):
    """The rows come twice, the second time with another value of one column."""

    kind: Literal["contradicting_rows"]
    factor: float = 1.5

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """And again, differently."""
        other = rows.filter(self.inside(asked)).with_columns(pl.col(self.column) * self.factor)
        return pl.concat([rows, other])


class RevisedRows(ColumnFault):
    """One column is off by `factor` until the virtual time `until`, then put right."""

    kind: Literal["revised_rows"]
    until: datetime
    factor: float = 1.2

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """As first published."""
        if asked.now >= self.until:
            return rows
        return self.changed(rows, asked, pl.col(self.column) * self.factor)


class ReorderedRows(Fault):
    """The rows come in another order than asked for, the same one every time."""

    kind: Literal["reordered_rows"]
    seed: int = 0

    def spoil_records(self, records: list[dict[str, Any]], _asked: Asked) -> list[dict[str, Any]]:
        """Shuffled."""
        order = pl.Series(range(len(records)), dtype=pl.Int64).shuffle(seed=self.seed)
        return [records[index] for index in order]


class ShiftedClock(DataFault):
    """The times of the rows are off by `minutes`, also to beyond the span that was asked for."""

    kind: Literal["shifted_clock"]
    minutes: int = 60

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """By that clock."""
        time = pl.col(asked.time_column)
        moved = time + timedelta(minutes=self.minutes)
        return rows.with_columns(
            pl.when(self.inside(asked)).then(moved).otherwise(time).alias(asked.time_column)
        )


class MissingColumn(Fault):
    """A column is gone from the dataset."""

    kind: Literal["missing_column"]
    column: str

    @model_validator(mode="after")
    def _known_column(self) -> Self:
        self._refuse_unknown(self.column)
        return self

    def spoil_rows(self, rows: pl.DataFrame, _asked: Asked) -> pl.DataFrame:
        """Without it."""
        return rows.drop(self.column)


class RenamedColumn(Fault):
    """A column has another name."""

    kind: Literal["renamed_column"]
    column: str
    to: str = "RenamedColumn"

    @model_validator(mode="after")
    def _known_column(self) -> Self:
        self._refuse_unknown(self.column)
        return self

    def spoil_rows(self, rows: pl.DataFrame, _asked: Asked) -> pl.DataFrame:
        """Under that name."""
        return rows.rename({self.column: self.to})


class ExtraColumn(Fault):
    """A column is new in the dataset."""

    kind: Literal["extra_column"]
    column: str = "NewColumn"
    value: float = 1.0

    def spoil_rows(self, rows: pl.DataFrame, _asked: Asked) -> pl.DataFrame:
        """With it."""
        return rows.with_columns(pl.lit(self.value).alias(self.column))


class NullValues(ColumnFault):
    """A column is null."""

    kind: Literal["null_values"]

    def spoil_rows(self, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
        """Nothing there."""
        return self.changed(rows, asked, pl.lit(None, pl.Float64))


class TextValues(ColumnFault):
    """A column is text where it should be a number."""

    kind: Literal["text_values"]
    text: str = "NaN"

    def spoil_records(self, records: list[dict[str, Any]], asked: Asked) -> list[dict[str, Any]]:
        """With that text."""
        return [
            {**record, self.column: self.text}
            if self.column in record and self._holds(record, asked)
            else record
            for record in records
        ]

    def _holds(self, record: dict[str, Any], asked: Asked) -> bool:
        time = datetime.fromisoformat(record[asked.time_column]).replace(tzinfo=UTC)
        return self.data_from <= time < self.data_to


class EmptyReply(Fault):
    """An honest envelope without records."""

    kind: Literal["empty_reply"]

    def spoil_rows(self, rows: pl.DataFrame, _asked: Asked) -> pl.DataFrame:
        """None of them."""
        return rows.clear()


class Status403(Fault):
    """The server forbids."""

    kind: Literal["status_403"]

    def spoil_reply(self, _body: bytes) -> Answer:
        """403, plain text, as Energi Data Service does."""
        return Answer(403, b"Forbidden")


class Status404(Fault):
    """The dataset is gone."""

    kind: Literal["status_404"]

    def spoil_reply(self, _body: bytes) -> Answer:
        """404, plain text, as Energi Data Service does."""
        return Answer(404, f"dataset not found {self.dataset}".encode())


class Status429(Fault):
    """The server has had enough requests."""

    kind: Literal["status_429"]
    retry_after_s: int = 292

    def spoil_reply(self, _body: bytes) -> Answer:
        """429 with Retry-After, JSON, as Energi Data Service does."""
        message = f"Rate limit is exceeded. Try again in {self.retry_after_s} seconds."
        return Answer(
            429,
            f'{{"statusCode":429,"message":"{message}"}}'.encode(),
            "application/json",
            {"Retry-After": str(self.retry_after_s)},
        )


class Status500(Fault):
    """The server fails."""

    kind: Literal["status_500"]

    def spoil_reply(self, _body: bytes) -> Answer:
        """500, plain text."""
        return Answer(500, b"Internal Server Error")


class TimeOut(Fault):
    """The server answers, but only after `sleep_s`."""

    kind: Literal["time_out"]
    sleep_s: float = Field(90.0, gt=0)

    def spoil_reply(self, body: bytes) -> Answer:
        """Late."""
        return Answer(200, body, "application/json", delay_s=self.sleep_s)


class TruncatedJson(Fault):
    """The reply ends in the middle."""

    kind: Literal["truncated_json"]
    keep_share: float = Field(0.5, gt=0, lt=1)

    def spoil_reply(self, body: bytes) -> Answer:
        """Its first part."""
        return Answer(200, body[: int(len(body) * self.keep_share)], "application/json")


class HtmlReply(Fault):
    """A page for people, as a proxy or a maintenance notice gives it."""

    kind: Literal["html_reply"]

    def spoil_reply(self, _body: bytes) -> Answer:
        """200, HTML."""
        page = b"<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>"
        return Answer(200, page, "text/html")


class ConnectionReset(Fault):
    """The connection breaks in the middle of the reply."""

    kind: Literal["connection_reset"]
    keep_share: float = Field(0.5, gt=0, lt=1)

    def spoil_reply(self, body: bytes) -> Answer:
        """Its first part, then nothing."""
        kept = int(len(body) * self.keep_share)
        return Answer(200, body, "application/json", reset_after=kept)


class SlowDrip(Fault):
    """The reply trickles: `chunk_bytes` every `pause_s`, each well within a time-out."""

    kind: Literal["slow_drip"]
    chunk_bytes: int = Field(1000, ge=1)
    pause_s: float = Field(1.0, gt=0)

    def spoil_reply(self, body: bytes) -> Answer:
        """Drop by drop."""
        return Answer(
            200, body, "application/json", chunk_bytes=self.chunk_bytes, pause_s=self.pause_s
        )


AnyFault = Annotated[
    LateMinutes
    | Gap
    | FrozenFeed
    | Spike
    | LevelShift
    | DuplicatedRows
    | ContradictingRows
    | RevisedRows
    | ReorderedRows
    | ShiftedClock
    | MissingColumn
    | RenamedColumn
    | ExtraColumn
    | NullValues
    | TextValues
    | EmptyReply
    | Status403
    | Status404
    | Status429
    | Status500
    | TimeOut
    | SlowDrip
    | TruncatedJson
    | HtmlReply
    | ConnectionReset,
    Field(discriminator="kind"),
]


class FaultPlan(BaseModel):
    """The faults of a plan file, in the order in which they act."""

    model_config = ConfigDict(extra="forbid")

    faults: tuple[AnyFault, ...] = ()

    @classmethod
    def load(cls, path: Path) -> FaultPlan:
        """The plan in a YAML file.

        Raises:
            RecordingError: it cannot be read, or a fault is not one; names the entry.
        """
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise RecordingError(
                "a fault plan cannot be read", where=str(path), found=error, expected="YAML"
            ) from error
        return cls.of(content, where=str(path))

    @classmethod
    def of(cls, content: object, *, where: str = "fault plan") -> FaultPlan:
        """The plan of plain values.

        Raises:
            RecordingError: a fault is not one; names the entry.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise RecordingError(
                "a fault plan is malformed",
                where=f"{where}, {'.'.join(str(part) for part in first['loc'])}",
                found=first.get("input"),
                expected=first["msg"],
                next_step="docs/recordings.md lists the kinds with their parameters",
            ) from error


def spoiled_records(body: bytes, faults: Sequence[Fault], asked: Asked) -> bytes:
    """The body after `spoil_records` of all faults."""
    if all(type(fault).spoil_records is Fault.spoil_records for fault in faults):
        # A year of minutes is not decoded for nothing.
        return body
    content = json.loads(body)
    for fault in faults:
        content["records"] = fault.spoil_records(content["records"], asked)
    return json.dumps(content).encode()


class Saboteur:
    """Applies a plan to requests and counts those that each fault has acted on."""

    def __init__(self, plan: FaultPlan | None) -> None:
        self._faults = plan.faults if plan else ()
        self._used = [0] * len(self._faults)
        self._lock = threading.Lock()

    def acting(self, asked: Asked) -> list[Fault]:
        """The faults that act on a request; it counts as one of their `times`."""
        chosen: list[Fault] = []
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.acts(asked) and (fault.times is None or self._used[index] < fault.times):
                    self._used[index] += 1
                    chosen.append(fault)
        return chosen
