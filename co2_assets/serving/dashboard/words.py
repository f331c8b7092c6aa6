"""What the numbers say, in plain words."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import polars as pl

from co2_assets.errors import WindowDoesNotFit
from co2_assets.forecasting.greenest import Recommendation
from co2_assets.schema import MISSION_LEADS
from co2_assets.serving.contract import About
from co2_assets.serving.dashboard.tables import as_float
from co2_assets.serving.dashboard.times import Zone, age

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?: UTC|\+00:00|Z)?")


def greenness(value: float, usual: pl.Series) -> tuple[str, int]:
    """How a value compares with usual ones: words, and the percent that are less green.

    Args:
        value: g/kWh.
        usual: known values of the hours to compare with, not empty.
    """
    dirtier = round(100 * (as_float((usual > value).mean()) or 0.0))
    for at_least, words in (
        (80, "very green"),
        (60, "greener than usual"),
        (40, "about usual"),
        (20, "less green than usual"),
    ):
        if dirtier >= at_least:
            return words, dirtier
    return "far from green", dirtier


def saving(found: Recommendation) -> str:
    """What a recommendation is expected to save against running at once."""
    if found.is_now:
        return "now is as green as it gets: run at once"
    percent = found.expected_saving_percent
    if percent <= 0:
        return f"{-percent:.0f} % more than running at once, if you cannot"
    return f"{percent:.0f} % less than now · {chance(found.chance_beats_now)} that it beats now"


def chance(share: float) -> str:
    """A chance in percent, never said to be certain."""
    if share > 0.99:
        return "more than 99 % chance"
    return "less than 1 % chance" if share < 0.01 else f"{100 * share:.0f} % chance"


def refusal(error: WindowDoesNotFit, zone: Zone) -> str:
    """Why a window does not fit, and what to ask instead, as sentences."""
    parts = [error.what]
    if error.found:
        parts.append(f"found {error.found}")
    if error.expected:
        parts.append(f"expected {error.expected}")
    said = "; ".join(parts)
    advice = f" {capital(error.next_step)}." if error.next_step else ""
    return f"{capital(in_zone(said, zone))}.{advice}".replace("`", "")


def in_zone(text: str, zone: Zone) -> str:
    """A text in which every UTC time is said in the zone."""
    return _TIME.sub(lambda found: zone.hour(_parse(found.group())), text)


def capital(text: str) -> str:
    """A clause as the begin of a sentence."""
    return text[:1].upper() + text[1:]


def trust(leads: pl.DataFrame, days: int) -> tuple[str, str]:
    """How well the served forecasts of the first hours did lately: a figure, and its words.

    Args:
        leads: figures by lead, as `contract.accuracy_by_lead` gives them.
        days: that they are of.
    """
    near = leads.filter(pl.col("lead_hours") <= MISSION_LEADS)
    n = int(near["n"].sum())
    if n == 0:
        return "not known yet", f"no forecast of the last {days} days has been scored"
    mae = pooled(near, "mae")
    persistence = pooled(near, "persistence_mae")
    coverage = pooled(near, "coverage_80")
    words = [f"mean error, 1 to {MISSION_LEADS} h ahead, last {days} days ({n} hours)"]
    if mae is not None and persistence:
        share = 100 * (1 - mae / persistence)
        words.append(
            f"{abs(share):.0f} % {'closer' if share >= 0 else 'further off'}"
            " than assuming that nothing changes"
        )
    if coverage is not None:
        words.append(f"{100 * coverage:.0f} % of hours lay in the 80 % band")
    return f"±{mae:.0f} g/kWh", " · ".join(words)


def pooled(figures: pl.DataFrame, column: str) -> float | None:
    """Mean of a figure over rows, by how many values each stands for; None without any."""
    known = figures.drop_nulls(column)
    total = as_float(known.select(pl.col(column).dot("n")).item())
    n = int(known["n"].sum())
    return total / n if n and total is not None else None


def as_of(about: About, zone: Zone) -> str:
    """What the data and the forecast on the page are of."""
    if about.data_until_utc is None:
        return "No data yet."
    until = f"Data until {zone.moment(about.data_until_utc)} ({age(about.data_age_minutes)} old)"
    if about.issue_time_utc is None:
        return f"{until} · no forecast yet"
    return (
        f"{until} · forecast of {zone.hour(about.issue_time_utc)}"
        f" ({age(about.forecast_age_minutes)} old) by {about.model_version}"
    )


def _parse(text: str) -> datetime:
    bare = text.removesuffix(" UTC").removesuffix("Z").removesuffix("+00:00")
    return datetime.fromisoformat(bare).replace(tzinfo=UTC)
