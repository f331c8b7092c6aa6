"""What `co2 status` says, read from the published copy."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from co2_assets.settings import Settings
from co2_assets.warehouse.decisions import live_evidence
from co2_assets.warehouse.forecasts import live_accuracy
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.publish import read_published
from co2_assets.warehouse.query import Connection, row, rows, value
from co2_assets.warehouse.reader import open_published

STALE_AFTER = timedelta(hours=7)
"""A window and an hour."""


def read_status(settings: Settings, now: datetime | None) -> dict[str, Any]:
    """Everything that `co2 status` says, by name; times are UTC.

    Args:
        settings: of the home.
        now: the platform's time, to tell what is stale; None when it cannot be read.

    Raises:
        WarehouseError: nothing has been published in this home.
    """
    with open_published(settings.home) as con:
        newest_issue = value(con, "SELECT max(issue_time_utc) FROM main.forecast_history")
        end = newest_issue or value(con, "SELECT max(hour_utc) FROM main.actuals")
        return {
            "home": str(settings.home),
            "source": settings.source,
            "now_utc": now,
            "data": _data(con),
            "last_tick": _last_tick(con),
            "champion": _champion(con),
            "forecasts": _forecasts(con),
            "accuracy_by_lead": _accuracy(con, end),
            "pseudo_accuracy_7_days": _pseudo_accuracy(con, settings, end),
            "last_decision": _last_decision(con),
            "warehouse": _warehouse(con, settings),
            "stale": stale(con, now),
        }


def _data(con: Connection) -> dict[str, Any]:
    first, last, hours, actual, missing, imputed, spike, frozen = row(
        con,
        "SELECT min(hour_utc), max(hour_utc), count(*), count(co2_g_per_kwh),"
        " count(*) FILTER (minutes_seen = 0),"
        " count(*) FILTER (quality IN ('imputed', 'missing')),"
        " count(*) FILTER (quality = 'spike'), count(*) FILTER (quality = 'frozen')"
        " FROM main.actuals",
    ) or (None, None, 0, 0, 0, 0, 0, 0)
    return {
        "first_hour_utc": first,
        "last_hour_utc": last,
        "hours": hours,
        "hours_complete_and_ok": actual,
        "hours_without_a_minute": missing,
        "hours_not_complete": imputed,
        "hours_spike": spike,
        "hours_frozen": frozen,
        "gaps": [
            time
            for (time,) in rows(
                con,
                "SELECT hour_utc FROM main.actuals WHERE minutes_seen = 0"
                " ORDER BY hour_utc DESC LIMIT 20",
            )
        ],
        "minutes": value(con, "SELECT count(*) FROM raw.power_system"),
    }


def _last_tick(con: Connection) -> dict[str, Any] | None:
    found = row(
        con,
        "SELECT window_start_utc, window_end_utc, decided_at_utc, dagster_run_id"
        " FROM ml.retrain_decisions ORDER BY window_start_utc DESC LIMIT 1",
    )
    names = ("window_start_utc", "window_end_utc", "ran_at_utc", "dagster_run_id")
    return dict(zip(names, found, strict=True)) if found else None


def _champion(con: Connection) -> dict[str, Any] | None:
    found = row(
        con,
        "SELECT model_version, recipe, train_start_utc, train_end_utc, valid_from_utc, reason"
        " FROM main.champion",
    )
    names = (
        "model_version",
        "recipe",
        "train_start_utc",
        "train_end_utc",
        "valid_from_utc",
        "reason",
    )
    return dict(zip(names, found, strict=True)) if found else None


def _forecasts(con: Connection) -> dict[str, Any]:
    issues, live, fallback, degraded, newest, scored = row(
        con,
        "SELECT count(DISTINCT issue_time_utc),"
        " count(DISTINCT issue_time_utc) FILTER (NOT is_hindcast),"
        " count(DISTINCT issue_time_utc) FILTER (is_fallback),"
        " count(DISTINCT issue_time_utc) FILTER (inputs_missing IS NOT NULL),"
        " max(issue_time_utc),"
        " (SELECT count(*) FROM ml.forecast_evaluations WHERE is_served)"
        " FROM main.forecast_history WHERE is_served",
    ) or (0, 0, 0, 0, None, 0)
    return {
        "issue_times": issues,
        "live": live,
        "fallbacks": fallback,
        "degraded": degraded,
        "newest_issue_time_utc": newest,
        "scored_values": scored,
    }


def _accuracy(con: Connection, end: datetime | None) -> list[dict[str, Any]]:
    """By lead over all live served forecasts that are stored."""
    if end is None:
        return []
    everything = value(con, "SELECT min(valid_time_utc) FROM ml.forecast_evaluations")
    if everything is None:
        return []
    return live_accuracy(con, everything, end + timedelta(days=1)).to_dicts()


def _pseudo_accuracy(
    con: Connection, settings: Settings, end: datetime | None
) -> dict[str, Any] | None:
    if end is None:
        return None
    evidence = live_evidence(
        con,
        end,
        accuracy_days=settings.retrain_window_days,
        skill_days=settings.retrain_skill_days,
    )
    return {
        "percent": evidence.pseudo_accuracy,
        "n_forecasts": evidence.n_forecasts,
        "n_values": evidence.n_values,
        "skill_14_days": evidence.skill,
    }


def _last_decision(con: Connection) -> dict[str, Any] | None:
    found = row(
        con,
        "SELECT window_end_utc, decision, rule, reason FROM main.retrain_ledger"
        " ORDER BY window_start_utc DESC LIMIT 1",
    )
    names = ("window_end_utc", "decision", "rule", "reason")
    return dict(zip(names, found, strict=True)) if found else None


def _warehouse(con: Connection, settings: Settings) -> dict[str, Any]:
    layout = Layout(settings.home)
    published = read_published(layout)
    return {
        "generation": published.generation if published else None,
        "data_as_of_commit": value(con, "SELECT max(commit_id) FROM ops.commits"),
        "data_as_of_utc": value(con, "SELECT max(committed_at_utc) FROM ops.commits"),
        "published_bytes": layout.public.resolve().stat().st_size,
        "home_bytes": sum(
            path.stat().st_size
            for path in settings.home.rglob("*")
            if path.is_file() and not path.is_symlink()
        ),
    }


def stale(con: Connection, now: datetime | None) -> list[str]:
    """What is older than it should be, in words; by the data's own time."""
    if now is None:
        return ["unknown: the platform's clock cannot be read"]
    newest_issue = value(con, "SELECT max(issue_time_utc) FROM main.forecast_history")
    newest_hour = value(con, "SELECT max(hour_utc) FROM main.actuals WHERE minutes_seen > 0")
    found = []
    for name, time in (
        ("measured hours", newest_hour + timedelta(hours=1) if newest_hour else None),
        ("forecast", newest_issue),
    ):
        if time is None:
            found.append(f"{name}: none")
        elif now - time > STALE_AFTER:
            found.append(f"{name}: {(now - time) / timedelta(hours=1):.1f} hours old")
    return found


def describe(status: dict[str, Any]) -> str:
    """The status as lines for a person."""
    data, champion, forecasts = status["data"], status["champion"], status["forecasts"]
    accuracy = status["pseudo_accuracy_7_days"] or {"percent": None, "n_forecasts": 0}
    lines = [
        f"home        {status['home']} ({status['source']} data)",
        f"data        {_time(data['first_hour_utc'])} to {_time(data['last_hour_utc'])} UTC,"
        f" {data['hours']:,} hours, {data['minutes']:,} minutes",
        f"quality     {data['hours_without_a_minute']} hours without a minute,"
        f" {data['hours_spike']} spikes, {data['hours_frozen']} frozen",
        f"last tick   {_time((status['last_tick'] or {}).get('window_start_utc'))}",
        f"champion    {champion['model_version']} ({champion['recipe']}), trained to"
        f" {_time(champion['train_end_utc'])}"
        if champion
        else "champion    none",
        f"forecasts   {forecasts['issue_times']} issue times, {forecasts['live']} live,"
        f" {forecasts['degraded']} degraded, {forecasts['fallbacks']} fallbacks,"
        f" {forecasts['scored_values']} values scored",
        f"accuracy    {_number(accuracy['percent'])} % pseudo-accuracy over 7 days"
        f" ({accuracy['n_forecasts']} forecasts)",
        *_accuracy_lines(status["accuracy_by_lead"]),
        f"decision    {json.dumps((status['last_decision'] or {}).get('reason'))}",
        f"warehouse   generation {status['warehouse']['generation']},"
        f" {status['warehouse']['published_bytes'] / 1e6:.0f} MB published,"
        f" {status['warehouse']['home_bytes'] / 1e6:.0f} MB in all",
        "stale       " + ("; ".join(status["stale"]) or "nothing"),
    ]
    return "\n".join(lines)


def _accuracy_lines(leads: list[dict[str, Any]]) -> list[str]:
    if not leads:
        return []
    return [
        "            lead   n    MAE  persistence  climatology  skill   (g/kWh)",
        *(
            f"            {lead['lead_hours']:>4} {lead['n']:>4}"
            f" {_number(lead['mae']):>6} {_number(lead['persistence_mae']):>12}"
            f" {_number(lead['climatology_mae']):>12} {_number(lead['skill'], 2):>6}"
            for lead in leads
        ),
    ]


def _number(figure: float | None, decimals: int = 1) -> str:
    return "-" if figure is None else f"{figure:.{decimals}f}"


def _time(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M}"
