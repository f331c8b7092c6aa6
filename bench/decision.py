"""How much of a perfect forecast's saving each way to choose the hours of a job captures.

    python -m bench.decision          (make bench-decision)

Every hour of the test is an issue time: a job of one, two or three hours may run at once, or
later if it has ended within 6 or 24 hours. Saving is what the choice really emitted against
running at once. The default is the platform's rule with its calibration (`bench.advice`). Results
go to bench/results: decision.json (captured shares), decision_odds.json (chances),
decision_more.json (savings, ranks, day ahead) and decision.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from bench.accuracy import CHAMPION, SHAPE, TEST_END, TEST_START, TRAIN_START
from bench.advice import Advice, advise, reliability, savings
from bench.day_ahead import measure_day_ahead
from bench.decision_replay import Replay, at_starts, by_issue_time, lowest_starts
from bench.sarimax import forecast_sarimax
from co2_assets.forecasting.advice_calibration import JOBS, NEAR_HOURS, Calibrations
from co2_assets.forecasting.advice_holdout import advice_metrics, holdout_calibrations
from co2_assets.forecasting.backtest import REFERENCE, Plan, interval, run_backtest
from co2_assets.forecasting.challenge import roll, six_hourly
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.greenest import ERROR_CORRELATION, MEDIAN, window_means
from co2_assets.forecasting.registry import Fit, fit_named
from co2_assets.replay.dataset import Dataset, recorded_dataset
from co2_assets.schema import QUANTILES

RESULTS = Path(__file__).parent / "results"
MODELS = (CHAMPION, "log_ridge", "energinet", "climatology", "seasonal_naive", REFERENCE)
SARIMAX = "sarimax"
PERFECT = "perfect"
DEFAULT = f"{CHAMPION} (the default)"
HOLDOUT = timedelta(days=28)

POLICIES: dict[str, tuple[str, float | None]] = {
    DEFAULT: (CHAMPION, None),
    f"{CHAMPION}, median": (CHAMPION, 0.5),
    f"{CHAMPION}, p75": (CHAMPION, 0.75),
    f"{CHAMPION}, p90": (CHAMPION, 0.9),
    "log_ridge, median": ("log_ridge", 0.5),
    "energinet's prognosis": ("energinet", 0.5),
    "seasonal ARIMA of seven days": (SARIMAX, 0.5),
    "climatology": ("climatology", 0.5),
    "yesterday's shape": ("seasonal_naive", 0.5),
    "persistence (runs at once)": (REFERENCE, 0.5),
}
"""Whose forecast decides, and which of its quantiles; None is the platform's rule."""

Rows = list[dict[str, Any]]


class Decisions(NamedTuple):
    """What was measured, as rows."""

    shares: Rows
    odds: Rows
    savings: Rows
    ranks: Rows
    day_ahead: Rows


def main() -> None:
    """Replay, print, write."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"  {time.monotonic() - started:6.0f} s  {line}", flush=True)

    dataset = recorded_dataset()
    prior = holdout_prior(dataset)
    say(f"{CHAMPION}: fitted to {TEST_START - HOLDOUT:%Y-%m-%d}, for the prior of the advice")
    replayed = replay(dataset, say)
    day_ahead = measure_day_ahead(dataset, MODELS, POLICIES, say)
    say("the day ahead is decided")
    found = measure(replayed, prior)._replace(day_ahead=day_ahead)
    say("the hours are decided")
    RESULTS.mkdir(exist_ok=True)
    more = {name: getattr(found, name) for name in ("savings", "ranks", "day_ahead")}
    for name, rows in (("", found.shares), ("_odds", found.odds), ("_more", more)):
        (RESULTS / f"decision{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    page = markdown(found)
    (RESULTS / "decision.md").write_text(page)
    print(page)


def holdout_prior(dataset: Dataset) -> Calibrations:
    """What the gate's holdout would have said of the model's advice before the test."""
    start = TEST_START - HOLDOUT
    model = fit_named(CHAMPION, Fit(*dataset, TRAIN_START, start, SHAPE))
    paired = roll(model, dataset.history, six_hourly(start, TEST_START), dataset.external)
    return holdout_calibrations({row["metric"]: row["value"] for row in advice_metrics(paired)})


def replay(dataset: Dataset, say: Callable[[str], None]) -> Replay:
    """Forecasts of every hour of the test, models fitted once on what lay before it."""
    days = (TEST_START - TRAIN_START).days
    plan = Plan(TEST_START, TEST_END, MODELS, timedelta(hours=1), "never", days, SHAPE)
    replayed = by_issue_time(run_backtest(*dataset, plan, say).paired)
    sarimax = forecast_sarimax(dataset, replayed.times, SHAPE.horizon_hours)
    say(f"{SARIMAX}: fitted at each of {len(sarimax)} issue times")
    return replayed.with_points(SARIMAX, sarimax)


def measure(replayed: Replay, prior: Calibrations) -> Decisions:
    """All but the day ahead: captured shares, the default's chances and savings, the ranks."""
    advice = advise(replayed, CHAMPION, prior)
    return Decisions(
        [row for job in JOBS for row in _shares(replayed, job, advice[job])],
        reliability(advice),
        savings(advice),
        rank_correlations(replayed),
        [],
    )


def _shares(replayed: Replay, job: tuple[int, int], advice: Advice) -> Rows:
    duration, within = job
    actual = window_means(replayed.actual[:, :within], duration)
    rows = []
    for policy, (whose, quantile) in POLICIES.items():
        if quantile is None:
            saved = advice.saved
        else:
            deciding = replayed.quantiles[whose][:, :within, QUANTILES.index(quantile)]
            saved = actual[:, 0] - at_starts(actual, lowest_starts(deciding, duration))
        rows.append(_share(policy, job, saved, advice.best, replayed))
    return [*rows, _share(PERFECT, job, advice.best, advice.best, replayed)]


def _share(
    policy: str, job: tuple[int, int], saved: Floats, perfect: Floats, replayed: Replay
) -> dict[str, Any]:
    low, high = interval((saved, perfect), replayed.weeks)
    at_once = replayed.actual[:, : job[0]].mean(axis=1)
    return {
        "policy": policy,
        "duration_hours": job[0],
        "within_hours": job[1],
        "captured_share": float(saved.sum() / perfect.sum()),
        "low": low,
        "high": high,
        "saving_percent": float(100 * saved.sum() / at_once.sum()),
        "perfect_saving_percent": float(100 * perfect.sum() / at_once.sum()),
        "n": len(saved),
    }


def rank_correlations(replayed: Replay) -> Rows:
    """Spearman's correlation of forecast and actual hours of an issue time, the mean of all.

    Of the medians, on the issue times at which all models know all hours; persistence has no
    order of its hours.
    """
    medians = {
        name: quantiles[:, :, MEDIAN]
        for name, quantiles in replayed.quantiles.items()
        if name != REFERENCE
    }
    whole = np.isfinite(np.stack([*medians.values()])).all(axis=(0, 2))
    actual = _centred_ranks(replayed.actual[whole])
    rows = []
    for name, median in medians.items():
        ranks = _centred_ranks(median[whole])
        spread = np.sqrt((ranks**2).sum(axis=1) * (actual**2).sum(axis=1))
        correlation = (ranks * actual).sum(axis=1) / spread
        low, high = interval((correlation, np.ones(len(correlation))), replayed.weeks[whole])
        rows.append(
            {
                "model": name,
                "spearman": float(correlation.mean()),
                "low": low,
                "high": high,
                "n": len(correlation),
            }
        )
    return rows


def _centred_ranks(values: Floats) -> Floats:
    ranks = rankdata(values, axis=1)
    return np.asarray(ranks - ranks.mean(axis=1, keepdims=True))


def markdown(found: Decisions) -> str:
    """All tables for a reader."""
    n = found.shares[0]["n"]
    heads = " | ".join(f"{duration} h within {within}" for duration, within in JOBS)
    by_policy: dict[str, Rows] = {}
    for row in found.shares:
        by_policy.setdefault(row["policy"], []).append(row)
    perfect = " | ".join(f"{row['perfect_saving_percent']:.1f}" for row in by_policy[PERFECT])
    return "\n".join(
        [
            "# Results of `make bench-decision`",
            "",
            f"Every hour from {TEST_START:%Y-%m-%d} to {TEST_END:%Y-%m-%d} is an issue time"
            f" ({n} with all 24 hours measured); models fitted once, on {TRAIN_START:%Y-%m-%d} to"
            f" {TEST_START:%Y-%m-%d}. A job runs at once or later, in one piece, and has ended"
            " within so many hours. Captured: the sum of what was really saved against running at"
            " once, in per cent of what a perfect choice saves, with the 90 % interval of a weekly"
            " block bootstrap. The default decides by the median of a job within"
            f" {NEAR_HOURS} hours and by p75 otherwise, and runs at once where its calibrated"
            " chance or saving does not speak for waiting. Data: Energinet (energidataservice.dk),"
            " CC BY 4.0.",
            "",
            f"| captured, % | {heads} |",
            "|---|" + "---|" * len(JOBS),
            *(
                f"| {policy} | " + " | ".join(_cell(row) for row in rows) + " |"
                for policy, rows in by_policy.items()
                if policy != PERFECT
            ),
            f"| a perfect choice saves, % of running at once | {perfect} |",
            "",
            *_savings_table(found.savings),
            *_odds_table(found.odds),
            *_ranks_table(found.ranks),
            *_day_ahead_table(found.day_ahead),
        ]
    )


def _savings_table(savings: Rows) -> list[str]:
    return [
        "## Expected and realised saving of the default, g/kWh",
        "",
        "| job | forecast said | came | off by | told | came | off by | perfect | runs at once |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['duration_hours']} h within {row['within_hours']}"
            f" | {row['raw_expected']:.1f} | {row['raw_realised']:.1f}"
            f" | {100 * (row['raw_expected'] / row['raw_realised'] - 1):+.0f} %"
            f" | {row['expected']:.1f} | {row['realised']:.1f}"
            f" | {100 * (row['expected'] / row['realised'] - 1):+.0f} %"
            f" | {row['perfect']:.1f} | {100 * row['runs_at_once']:.0f} % |"
            for row in savings
        ),
        "",
        "The forecast says the difference of medians; low hours are chosen, also where they are low"
        " by mistake, so it is too high, more so with more hours to choose from. Told is that times"
        " a factor, learned at each tick from the receipts of the last 120 days that were settled"
        " by then, and before there were any from the gate's holdout.",
        "",
    ]


def _odds_table(odds: Rows) -> list[str]:
    lines = [
        "## The chance that it beats now, of the default",
        "",
        "Over all jobs whose answer is not now, said by the scenarios (a correlation of"
        f" {ERROR_CORRELATION} between neighbouring hours) and told after calibration, likewise.",
        "",
        "| chance | | n | mean chance | did beat now | points too high |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("raw", "calibrated"):
        rows = [row for row in odds if row["chance"] == name]
        lines += [
            f"| {row['from']} to {row['to']} | {'said' if name == 'raw' else 'told'} | {row['n']}"
            f" | {row['mean_chance']:.3f} | {row['did_beat_now']:.3f}"
            f" | {100 * (row['mean_chance'] - row['did_beat_now']):+.1f} |"
            for row in rows
        ]
    brier = {
        name: np.average(
            [row["brier"] for row in odds if row["chance"] == name],
            weights=[row["n"] for row in odds if row["chance"] == name],
        )
        for name in ("raw", "calibrated")
    }
    return [
        *lines,
        "",
        f"Brier score {brier['raw']:.4f} as said, {brier['calibrated']:.4f} as told.",
        "",
    ]


def _ranks_table(ranks: Rows) -> list[str]:
    return [
        "## Rank correlation of the next 24 hours",
        "",
        "Spearman's, of the medians and the actual hours of an issue time; the mean over issue"
        " times, with the 90 % interval of a weekly block bootstrap.",
        "",
        "| model | mean | interval | issue times |",
        "|---|---|---|---|",
        *(
            f"| {row['model']} | {row['spearman']:.3f} | {row['low']:.3f} to {row['high']:.3f}"
            f" | {row['n']} |"
            for row in sorted(ranks, key=lambda row: -row["spearman"])
        ),
        "",
    ]


def _day_ahead_table(day_ahead: Rows) -> list[str]:
    if not day_ahead:
        return []
    return [
        "## The greenest 3 hours of a Danish day, decided at 17:30 UTC the day before",
        "",
        f"{day_ahead[0]['days']} days that are measured whole and that all rivals forecast whole."
        " Saved against the mean of the day; captured in per cent of what the best 3 hours in a row"
        f" save, {day_ahead[0]['best']:.1f} g/kWh. Measured hours end at 17:00, what others publish"
        " is known by 17:30; models have a horizon of 30 hours.",
        "",
        "| who decides | captured, % | saved, g/kWh |",
        "|---|---|---|",
        *(f"| {row['policy']} | {_cell(row)} | {row['saved']:.1f} |" for row in day_ahead),
        "",
    ]


def _cell(row: dict[str, Any]) -> str:
    share, low, high = (100 * row[name] for name in ("captured_share", "low", "high"))
    return f"{share:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
