"""Times as people read them: Danish time with its two changes a year, or UTC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

SHORT_SPAN = timedelta(days=4)
"""Up to here an axis names hours; beyond, days."""


@dataclass(frozen=True)
class Zone:
    """One way to show times.

    Attributes:
        title: as the page says it.
        tz: the time zone.
    """

    title: str
    tz: tzinfo

    def local(self, time: datetime) -> datetime:
        """The same instant on this zone's clock."""
        return time.astimezone(self.tz)

    def name(self, time: datetime) -> str:
        """CET, CEST or UTC: what this zone is called at that time."""
        return self.local(time).tzname() or ""

    def moment(self, time: datetime) -> str:
        """In full: `Sun 27 Oct 2024, 02:00 CEST`."""
        return f"{self.local(time):%a %-d %b %Y, %H:%M} {self.name(time)}"

    def hour(self, time: datetime) -> str:
        """For a row of a table or a hover: `Sun 27 Oct 02:00 CEST`."""
        return f"{self.local(time):%a %-d %b %H:%M} {self.name(time)}"

    def day(self, time: datetime) -> str:
        """`Sun 27 Oct 2024`."""
        return f"{self.local(time):%a %-d %b %Y}"

    def clock(self, time: datetime) -> str:
        """`02:00`, with the name of the time where that hour comes twice: `02:00 CEST`."""
        local = self.local(time)
        return f"{local:%H:%M}" + (f" {local.tzname()}" if self._comes_twice(time) else "")

    def span(self, start: datetime, end: datetime) -> str:
        """From begin to end: `02:00-05:00`."""
        return f"{self.clock(start)}\N{EN DASH}{self.clock(end)}"

    def day_word(self, time: datetime, now: datetime) -> str:
        """`today`, `tomorrow`, `yesterday`, else the day: `Mon 28 Oct`."""
        day = self.local(time).date()
        words = {0: "today", 1: "tomorrow", -1: "yesterday"}
        return words.get((day - self.local(now).date()).days, f"{day:%a %-d %b}")

    def iso(self, time: datetime) -> str:
        """ISO 8601 with the offset, for files: `2024-10-27T02:00:00+02:00`."""
        return self.local(time).isoformat()

    def _comes_twice(self, time: datetime) -> bool:
        local = self.local(time)
        return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


DANISH = Zone("Danish time", ZoneInfo("Europe/Copenhagen"))
UTC_ZONE = Zone("UTC", UTC)


def axis_title(zone: Zone, start: datetime, end: datetime) -> str:
    """What an axis of [start, end] says of its times: `Danish time (CEST, then CET)`."""
    first, last = zone.name(start), zone.name(end)
    if zone.title == first:
        return zone.title
    return f"{zone.title} ({first})" if first == last else f"{zone.title} ({first}, then {last})"


def ticks(start: datetime, end: datetime, zone: Zone) -> list[tuple[datetime, str]]:
    """Instants of [start, end] to mark on an axis, with their labels.

    An axis of instants keeps both 02:00 hours of October apart, and the hour that March
    leaves out has no place on it.
    """
    if end - start <= SHORT_SPAN:
        every = 6 if end - start <= timedelta(hours=54) else 12
        return [(time, _hour_label(zone, time)) for time in _hours(start, end, zone, every)]
    midnights = list(_hours(start, end, zone, 24))
    step = max(1, -(-len(midnights) // 8))
    return [(time, f"{zone.local(time):%-d %b}") for time in midnights[::step]]


def clock_changes(start: datetime, end: datetime, zone: Zone) -> list[tuple[datetime, str]]:
    """Instants of (start, end) at which the clocks are changed, in words."""
    return [
        (time, _change_words(zone, time))
        for time in _hours(start + HOUR, end, zone, 1)
        if zone.local(time).utcoffset() != zone.local(time - HOUR).utcoffset()
    ]


def age(minutes: int | None) -> str:
    """`3 min`, `5 h`, `4 days`; of what is not known, `unknown`."""
    if minutes is None:
        return "unknown"
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 72 else f"{hours // 24} days"


def _hours(start: datetime, end: datetime, zone: Zone, every: int) -> Iterator[datetime]:
    """Whole hours of [start, end] whose local hour is a multiple of `every`."""
    time = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while time <= end:
        if time >= start and zone.local(time).hour % every == 0:
            yield time
        time += HOUR


def _change_words(zone: Zone, time: datetime) -> str:
    before = zone.local(time - HOUR)
    names = f"{zone.name(time - HOUR)}, then {zone.name(time)}"
    if zone.local(time).hour == before.hour:
        return f"{before:%H:%M} comes twice: {names}"
    return f"{before.hour + 1:02d}:00 is left out: {names}"


def _hour_label(zone: Zone, time: datetime) -> str:
    local = zone.local(time)
    return f"{local:%H:%M}<br>{local:%a %-d %b}" if local.hour == 0 else f"{local:%H:%M}"
