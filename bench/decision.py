"""How much of a perfect forecast's saving each way to choose the hours of a job captures.

    python -m bench.decision          (make bench-decision)

Every hour of the test is an issue time: a job of one, two or three hours may run at once, or
later if it has ended within 6 or 24 hours. Saving is what the choice really emitted against
running at once. Results go to bench/results/decision.json, decision_odds.json and decision.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from bench.accuracy import CHAMPION, SHAPE, TEST_END, TEST_START, TRAIN_START
from co2_assets.forecasting.backtest import REFERENCE, WEEK_S, Plan, interval, run_backtest
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.greenest import (
    DECIDES,
    ERROR_CORRELATION,
    MEDIAN,
    Hours,
    odds_of,
    window_means,
)
from co2_assets.forecasting.receipts import JOBS
from co2_assets.replay.dataset import Dataset, recorded_dataset
from co2_assets.schema import QUANTILE_COLUMNS, QUANTILES

RESULTS = Path(__file__).parent / "results"
MODELS = (CHAMPION, "log_ridge", "energinet", "climatology", "seasonal_naive", REFERENCE)
PERFECT = "perfect"
DEFAULT = f"{CHAMPION}, p{round(100 * DECIDES)} (the default)"

POLICIES = {
    DEFAULT: (CHAMPION, QUANTILES.index(DECIDES)),
    f"{CHAMPION}, median": (CHAMPION, MEDIAN),
    f"{CHAMPION}, p90": (CHAMPION, QUANTILES.index(0.9)),
    "log_ridge, median": ("log_ridge", MEDIAN),
    "energinet's prognosis": ("energinet", MEDIAN),
    "climatology": ("climatology", MEDIAN),
    "yesterday's shape": ("seasonal_naive", MEDIAN),
    "persistence (runs at once)": (REFERENCE, MEDIAN),
}
"""Whose forecast decides, and which of its quantiles."""

BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Ends of the chances that are counted together; few lie below one half."""

Rows = list[dict[str, Any]]


class Replay(NamedTuple):
    """Forecasts and what followed, by issue time and lead.

    Attributes:
        quantiles: of each model, shape (issue times, leads, 7), NaN where it has none.
        actual: shape (issue times, leads).
        weeks: the block of each issue time.
    """

    quantiles: dict[str, Floats]
    actual: Floats
    weeks: Floats


class Decisions(NamedTuple):
    """What was measured: captured shares, the odds against what came, expected savings."""

    shares: Rows
    odds: Rows
    brier: float
    brier_of_the_base_rate: float
    savings: Rows


def main() -> None:
    """Replay, print, write."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"  {time.monotonic() - started:6.0f} s  {line}", flush=True)

    found = measure(replay(recorded_dataset(), say))
    RESULTS.mkdir(exist_ok=True)
    for name, rows in (("decision.json", found.shares), ("decision_odds.json", found.odds)):
        (RESULTS / name).write_text(json.dumps(rows, indent=1) + "\n")
    page = markdown(found)
    (RESULTS / "decision.md").write_text(page)
    print(page)


def replay(dataset: Dataset, say: Callable[[str], None]) -> Replay:
    """Forecasts of every hour of the test, models fitted once on what lay before it."""
    days = (TEST_START - TRAIN_START).days
    plan = Plan(TEST_START, TEST_END, MODELS, timedelta(hours=1), "never", days, SHAPE)
    return by_issue_time(run_backtest(*dataset, plan, say).paired)


def by_issue_time(paired: dict[str, pl.DataFrame]) -> Replay:
    """Arrays of a backtest's forecasts; only issue times with an actual at every lead count."""
    reference = paired[REFERENCE].sort("issue_time_utc", "lead_hours")
    leads = int(reference["lead_hours"].max() or 0)  # type: ignore[arg-type]
    times = (
        reference.group_by("issue_time_utc", maintain_order=True)
        .len()
        .filter(pl.col("len") == leads)
        .with_row_index("row")
    )

    def array(rows: pl.DataFrame, columns: tuple[str, ...]) -> Floats:
        placed = rows.join(times, on="issue_time_utc")
        values = np.full((times.height, leads, len(columns)), np.nan)
        index = placed["row"].to_numpy(), placed["lead_hours"].to_numpy() - 1
        values[index] = placed.select(columns).to_numpy()
        return values

    return Replay(
        {name: array(rows, QUANTILE_COLUMNS) for name, rows in paired.items()},
        array(reference, ("actual_g_per_kwh",))[:, :, 0],
        (times["issue_time_utc"].dt.epoch("s") // WEEK_S).to_numpy().astype(np.float64),
    )


def measure(replayed: Replay) -> Decisions:
    """Captured shares of all policies and jobs; the odds and savings of the default one."""
    shares: Rows = []
    savings: Rows = []
    chances, beaten = [], []
    model, quantile = POLICIES[DEFAULT]
    for duration, within in JOBS:
        actual = window_means(replayed.actual[:, :within], duration)
        perfect = actual[:, 0] - actual.min(axis=1)
        for policy, (whose, which) in POLICIES.items():
            starts = chosen(replayed.quantiles[whose][:, :within, which], duration)
            saved = actual[:, 0] - _at(actual, starts)
            shares.append(_share(policy, (duration, within), saved, perfect, replayed))
        shares.append(_share(PERFECT, (duration, within), perfect, perfect, replayed))
        starts = chosen(replayed.quantiles[model][:, :within, quantile], duration)
        medians = window_means(replayed.quantiles[model][:, :within, MEDIAN], duration)
        saved = actual[:, 0] - _at(actual, starts)
        savings.append(
            {
                "duration_hours": duration,
                "within_hours": within,
                "expected": float((medians[:, 0] - _at(medians, starts)).mean()),
                "realised": float(saved.mean()),
                "perfect": float(perfect.mean()),
                "runs_at_once": float((starts == 0).mean()),
            }
        )
        later = np.flatnonzero(starts)
        at_once = np.arange(duration)
        chances += [
            odds_of(replayed.quantiles[model][row], starts[row] + at_once, at_once).chance_beats_now
            for row in later.tolist()
        ]
        beaten += (saved[later] > 0).tolist()
    chance, beat = np.array(chances), np.array(beaten, dtype=np.float64)
    return Decisions(
        shares,
        _reliability(chance, beat),
        float(np.mean((chance - beat) ** 2)),
        float(beat.mean() * (1 - beat.mean())),
        savings,
    )


def chosen(deciding: Floats, duration: int) -> Hours:
    """Start of the lowest window of each issue time, the earliest among equals.

    Where no window has all its hours, the job runs at once.
    """
    means = window_means(deciding, duration)
    return np.asarray(np.argmin(np.where(np.isnan(means), np.inf, means), axis=1))


def _at(values: Floats, starts: Hours) -> Floats:
    return np.asarray(values[np.arange(len(starts)), starts])


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


def _reliability(chance: Floats, beat: Floats) -> Rows:
    rows: Rows = []
    for low, high in zip(BINS[:-1], BINS[1:], strict=True):
        inside = (chance >= low) & ((chance < high) | (high == BINS[-1]))
        if inside.any():
            rows.append(
                {
                    "from": low,
                    "to": high,
                    "n": int(inside.sum()),
                    "mean_chance": float(chance[inside].mean()),
                    "did_beat_now": float(beat[inside].mean()),
                }
            )
    return rows


def markdown(found: Decisions) -> str:
    """All tables for a reader."""
    n = found.shares[0]["n"]
    heads = " | ".join(f"{duration} h within {within}" for duration, within in JOBS)
    by_policy: dict[str, list[dict[str, Any]]] = {}
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
            " block bootstrap. Data: Energinet (energidataservice.dk), CC BY 4.0.",
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
            "## Expected and realised saving of the default, g/kWh",
            "",
            "| job | expected | realised | perfect | runs at once |",
            "|---|---|---|---|---|",
            *(
                f"| {row['duration_hours']} h within {row['within_hours']} | {row['expected']:.1f}"
                f" | {row['realised']:.1f} | {row['perfect']:.1f}"
                f" | {100 * row['runs_at_once']:.0f} % |"
                for row in found.savings
            ),
            "",
            "Expected is the difference of medians; low hours are chosen, also where they are low"
            " by mistake, so it is too high, more so with more hours to choose from.",
            "",
            "## The chance that it beats now, of the default",
            "",
            "Over all jobs whose answer is not now. Scenarios with a correlation of"
            f" {ERROR_CORRELATION} between neighbouring hours. Brier score {found.brier:.4f};"
            f" always saying the mean would have {found.brier_of_the_base_rate:.4f}.",
            "",
            "| chance said | n | mean chance | did beat now |",
            "|---|---|---|---|",
            *(
                f"| {row['from']} to {row['to']} | {row['n']} | {row['mean_chance']:.3f}"
                f" | {row['did_beat_now']:.3f} |"
                for row in found.odds
            ),
            "",
        ]
    )


def _cell(row: dict[str, Any]) -> str:
    share, low, high = (100 * row[name] for name in ("captured_share", "low", "high"))
    return f"{share:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
