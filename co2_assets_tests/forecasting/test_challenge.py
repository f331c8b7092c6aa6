"""A challenge: who is compared on what, and what goes on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from co2_assets.errors import InputsMissing, ModelError, SettingsError
from co2_assets.forecasting import registry
from co2_assets.forecasting.advice_calibration import DEFAULTS
from co2_assets.forecasting.advice_holdout import holdout_calibrations
from co2_assets.forecasting.challenge import (
    Challenge,
    fingerprint,
    roll,
    six_hourly,
    train_challenger,
)
from co2_assets.forecasting.external import DK1
from co2_assets.forecasting.forecaster import Forecaster, forecast_frame
from co2_assets.forecasting.registry import Recipe, Shape
from co2_assets.schema import CO2_COLUMN, FEATURE_COLUMNS, available_column
from co2_assets_tests.forecasting.small import HOUR, SPRING_START

NOW = datetime.fromisoformat("2024-08-13T06:00+00:00")
SHAPE = Shape(lookback_hours=24, horizon_hours=6, seed=0)


@dataclass(frozen=True)
class Knowing:
    """Forecasts that miss the truth by a factor; refuses issue times in `silent`."""

    truth: dict[datetime, float | None]
    factor: float
    silent: tuple[datetime, ...] = ()
    trained: tuple[datetime, datetime] = (NOW, NOW)
    name: str = "knowing"
    horizon_hours: int = 6
    lookback_hours: int = 24
    reads: tuple[str, ...] = ()

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        if set(issue_times) & set(self.silent):
            raise InputsMissing("silent")
        point = np.array(
            [[self.truth[time + lead * HOUR] or 50.0 for lead in range(6)] for time in issue_times]
        )
        return forecast_frame(issue_times, np.repeat(point[..., None] * self.factor, 7, axis=2))


@pytest.fixture(scope="module")
def truth(history: pl.DataFrame) -> dict[datetime, float | None]:
    return dict(zip(history["hour_utc"], history[CO2_COLUMN], strict=True))


@pytest.fixture
def factor(monkeypatch: pytest.MonkeyPatch, truth: dict[datetime, float | None]) -> list[float]:
    """A recipe `knowing`, whose factor the test sets; says what it was fitted on."""
    factors = [1.05]
    monkeypatch.setitem(
        registry.RECIPES,
        "knowing",
        Recipe(
            hyperparameters=lambda shape: {"horizon_hours": shape.horizon_hours},
            features=lambda _shape: ("truth",),
            fit=lambda job: Knowing(truth, factors[0], trained=(job.start, job.end)),
            refit=lambda _fit, job: Knowing(
                truth, factors[0], trained=(job.start, job.end), name="refitted"
            ),
            own_inputs=True,
        ),
    )
    return factors


def challenge(history: pl.DataFrame, **changed: object) -> Challenge:
    arguments: dict[str, object] = {
        "recipe_name": "knowing",
        "training_days": 300,
        "holdout_days": 28,
        "shape": SHAPE,
        "champion": None,
        "champion_train_end": None,
        "confidence": 0.8,
        **changed,
    }
    known = history.filter(pl.col("hour_utc") < NOW)
    return train_challenger(known, NOW, **arguments)  # type: ignore[arg-type]


def trained(forecaster: Forecaster) -> tuple[str, datetime, datetime]:
    assert isinstance(forecaster, Knowing)
    return forecaster.name, *forecaster.trained


@pytest.mark.usefixtures("factor")
def test_a_winner_is_refitted_on_the_whole_range(history: pl.DataFrame) -> None:
    made = challenge(history)
    assert made.outcome.promoted
    start = NOW - timedelta(days=300)
    assert trained(made.forecaster) == ("refitted", start, NOW)
    assert (made.train_start, made.train_end) == (start, NOW)
    assert (made.holdout_start, made.holdout_end) == (NOW - timedelta(days=28), NOW)
    assert made.data_fingerprint == fingerprint(history, None, NOW)


def test_a_loser_stays_as_it_was_judged(history: pl.DataFrame, factor: list[float]) -> None:
    factor[0] = 2.0
    made = challenge(history)
    assert not made.outcome.promoted
    held = NOW - timedelta(days=28)
    assert trained(made.forecaster) == ("knowing", NOW - timedelta(days=300), held)
    assert made.train_end == held
    assert made.data_fingerprint == fingerprint(history, None, held)


@pytest.mark.usefixtures("factor")
def test_the_holdout_begins_no_earlier_than_the_champions_training_ended(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    ended = NOW - timedelta(days=9)
    made = challenge(history, champion=Knowing(truth, 1.5), champion_train_end=ended)
    assert made.holdout_start == ended
    assert made.outcome.promoted
    assert made.outcome.figures["n"] <= 9 * 4 * 6
    long_ago = challenge(
        history, champion=Knowing(truth, 1.5), champion_train_end=NOW - timedelta(days=99)
    )
    assert long_ago.holdout_start == NOW - timedelta(days=28)


@pytest.mark.usefixtures("factor")
def test_less_than_a_week_that_the_champion_has_not_seen_promotes_nobody(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    made = challenge(
        history, champion=Knowing(truth, 9.0), champion_train_end=NOW - timedelta(hours=167)
    )
    assert not made.outcome.promoted
    assert made.outcome.reason == (
        "nothing to compare on: the champion was trained up to 2024-08-06T07, data end at"
        " 2024-08-13T06 UTC, and a comparison needs 7 days that it has not seen"
    )
    assert made.metrics == []
    after_a_week = challenge(
        history, champion=Knowing(truth, 9.0), champion_train_end=NOW - timedelta(days=7)
    )
    assert after_a_week.outcome.promoted


@pytest.mark.usefixtures("factor")
def test_a_champion_that_takes_no_part_does_not_shorten_the_holdout(history: pl.DataFrame) -> None:
    """One whose files are damaged cannot keep the next model out."""
    made = challenge(history, champion=None, champion_train_end=NOW - timedelta(days=1))
    assert made.holdout_start == NOW - timedelta(days=28)
    assert made.outcome.promoted


@pytest.mark.usefixtures("factor")
def test_a_champion_that_is_as_good_stays(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    made = challenge(
        history, champion=Knowing(truth, 1.05), champion_train_end=NOW - timedelta(days=60)
    )
    assert not made.outcome.promoted
    assert made.outcome.reason.startswith("not shown to be better than the champion")


@pytest.mark.usefixtures("factor")
def test_a_champion_that_forecasts_nothing_takes_no_part(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    every = tuple(NOW - 6 * HOUR * step for step in range(200))
    made = challenge(
        history,
        champion=Knowing(truth, 1.0, silent=every),
        champion_train_end=NOW - timedelta(days=60),
    )
    assert made.outcome.promoted
    assert made.outcome.reason.startswith("the champion forecast only 0 of 112 issue times")


@pytest.mark.usefixtures("factor")
def test_issue_times_that_one_side_could_not_forecast_are_not_compared(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    silent = tuple(NOW - 6 * HOUR * step for step in range(1, 11))
    made = challenge(
        history,
        champion=Knowing(truth, 1.5, silent=silent),
        champion_train_end=NOW - timedelta(days=60),
    )
    figures = {
        row["predictor"]: row["value"]
        for row in made.metrics
        if row["metric"] == "n" and row["leads"] == "1"
    }
    assert figures["challenger"] == 4 * 28
    assert figures["champion"] == 4 * 28 - 10
    assert made.outcome.promoted


def test_a_gap_costs_few_calls_and_its_own_issue_times_only(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    asked: list[int] = []

    class Counting(Knowing):
        def predict(
            self,
            history: pl.DataFrame,
            issue_times: Sequence[datetime],
            *given: pl.DataFrame | None,
        ) -> pl.DataFrame:
            asked.append(len(issue_times))
            return super().predict(history, issue_times, *given)

    times = six_hourly(NOW - timedelta(days=64), NOW - timedelta(days=1))
    gap = times[99:102]
    made = roll(Counting(truth, 1.0, silent=tuple(gap)), history, times, None)
    assert made["issue_time_utc"].unique().sort().to_list() == [t for t in times if t not in gap]
    assert len(times) == 252
    assert len(asked) < 30
    assert roll(Knowing(truth, 1.0, silent=tuple(gap)), history, gap, None).is_empty()


def test_a_forecaster_that_fails_for_another_reason_is_heard(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    class Broken(Knowing):
        def predict(self, *_: object) -> pl.DataFrame:
            raise ModelError("broken")

    with pytest.raises(ModelError, match="broken"):
        roll(Broken(truth, 1.0), history, six_hourly(NOW - timedelta(days=7), NOW), None)


@pytest.mark.usefixtures("factor")
def test_metrics_have_every_contender_by_lead_and_pooled(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    made = challenge(
        history, champion=Knowing(truth, 1.5), champion_train_end=NOW - timedelta(days=60)
    )
    found = {(row["predictor"], row["leads"], row["metric"]): row for row in made.metrics}
    assert len(found) == len(made.metrics)
    for predictor in ("challenger", "champion", "persistence", "climatology"):
        for lead in ("1-6", *"123456"):
            row = found[predictor, lead, "mae"]
            skill = found[predictor, lead, "skill"]["value"]
            naive = found["persistence", lead, "mae"]["value"]
            assert row["scope"] == "holdout"
            assert skill == pytest.approx(1 - row["value"] / naive)


@pytest.mark.usefixtures("factor")
def test_metrics_say_how_the_advice_of_the_challenger_is_calibrated(history: pl.DataFrame) -> None:
    made = challenge(history)
    metrics = {row["metric"]: row["value"] for row in made.metrics if "advice" in row["metric"]}
    prior = holdout_calibrations(metrics)
    assert {job for job, one in prior.items() if one.calibrated_on == "holdout"} == {
        (1, 6), (2, 6), (3, 6),
    }  # fmt: skip
    # It knows all but the level: what it says is saved, and more likely than the default has it.
    assert prior[1, 6].saving_factor > DEFAULTS[1, 6].saving_factor
    assert prior[1, 6].calibration_n > 20


@pytest.mark.usefixtures("factor")
def test_issue_times_are_those_of_the_ticks(
    history: pl.DataFrame, truth: dict[datetime, float | None]
) -> None:
    """Odd hours of `now` do not move the holdout's forecasts off 00, 06, 12 and 18 UTC."""
    made = challenge(
        history,
        champion=Knowing(truth, 1.5),
        champion_train_end=NOW - timedelta(days=8, hours=1),
    )
    n = next(row["value"] for row in made.metrics if (row["metric"], row["leads"]) == ("n", "1"))
    assert made.holdout_start.hour == 5
    assert n == 8 * 4


@pytest.mark.usefixtures("factor")
def test_a_holdout_without_an_actual_is_refused(history: pl.DataFrame) -> None:
    held = pl.col("hour_utc") >= NOW - timedelta(days=28)
    silent = history.with_columns(pl.when(~held).then(CO2_COLUMN).alias(CO2_COLUMN))
    with pytest.raises(InputsMissing, match=r"no forecast with an actual.*2024-07-16T06"):
        challenge(silent)


@pytest.mark.usefixtures("factor")
@pytest.mark.parametrize(
    ("days", "asked", "held"), [(50, 28, 10), (30, 28, 7), (21, 28, 7), (50, 3, 7)]
)
def test_a_holdout_is_at_most_a_fifth_of_a_short_history_and_at_least_a_week(
    history: pl.DataFrame, days: int, asked: int, held: int
) -> None:
    short = history.filter(pl.col("hour_utc") >= NOW - timedelta(days=days))
    made = challenge(short, holdout_days=asked)
    assert made.train_start == NOW - timedelta(days=days)
    assert made.holdout_start == NOW - timedelta(days=held)


@pytest.mark.usefixtures("factor")
def test_three_weeks_of_history_are_needed(history: pl.DataFrame) -> None:
    short = history.filter(pl.col("hour_utc") >= NOW - timedelta(days=20, hours=12))
    with pytest.raises(
        InputsMissing,
        match=r"too little history.*found: 20.5 days; expected: at least 21 days: 7 to compare on",
    ):
        challenge(short)


@pytest.mark.usefixtures("factor")
def test_an_empty_history_is_an_error_in_words(history: pl.DataFrame) -> None:
    with pytest.raises(InputsMissing, match=r"there is no history.*next: load raw/power_system"):
        challenge(history.clear())


def test_an_unknown_recipe_is_refused_before_any_work(history: pl.DataFrame) -> None:
    with pytest.raises(SettingsError, match="unknown recipe"):
        challenge(history, recipe_name="none")


def test_a_fingerprint_names_all_that_a_training_may_read(
    history: pl.DataFrame, external: pl.DataFrame
) -> None:
    end = SPRING_START + 100 * HOUR
    kept = fingerprint(history, external, end)
    assert fingerprint(history.filter(pl.col("hour_utc") < end), external, end) == kept
    assert fingerprint(history, None, end) != kept
    # The hours before the range serve as analogues, and what others forecast is read beside.
    first, newest = pl.col("hour_utc") == history["hour_utc"][0], pl.col("hour_utc") == end - HOUR
    for name in (FEATURE_COLUMNS[2], CO2_COLUMN):
        for hour in (first, newest):
            revised = history.with_columns(
                pl.when(hour).then(pl.col(name) + 1e-9).otherwise(name).alias(name)
            )
            assert fingerprint(revised, external, end) != kept
    untrainable = history.with_columns(is_trainable=pl.col("hour_utc") != SPRING_START)
    assert fingerprint(untrainable, external, end) != kept
    for hour in (newest, pl.col("hour_utc") == end + 3 * HOUR):
        other = external.with_columns(
            pl.when(hour).then(pl.col(DK1) + 1e-9).otherwise(DK1).alias(DK1)
        )
        assert fingerprint(history, other, end) != kept
    later = pl.col(available_column(DK1)) > end
    other = external.with_columns(pl.when(later).then(1.0).otherwise(DK1).alias(DK1))
    assert fingerprint(history, other, end) == kept


@pytest.mark.parametrize("name", ["attention_lstm", "seed"])
def test_every_recipe_can_be_challenged_with_on_real_weeks(
    name: str, history: pl.DataFrame
) -> None:
    lines: list[str] = []
    made = challenge(history, recipe_name=name, training_days=25, progress=lines.append)
    assert made.forecaster.name == name
    assert made.outcome.reason in lines
    assert any("before the holdout" in line for line in lines)
    assert made.training_seconds > 0
    assert made.hyperparameters["horizon_hours"] == 6
    assert made.forecaster.predict(history, [NOW]).height == 6
