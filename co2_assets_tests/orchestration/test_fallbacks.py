"""Without some of its inputs a forecast is degraded, without the champion it is a fallback."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from co2_assets.forecasting.attention import AttentionForecaster
from co2_assets.forecasting.calibration import margins_of
from co2_assets.forecasting.external import GROUPS
from co2_assets.orchestration.issuing import Issued, issue
from co2_assets.schema import EXTERNAL_GROUPS, QUANTILE_COLUMNS
from co2_assets.warehouse import calibration, query, registry
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, utc
from co2_assets_tests.orchestration.test_models import damage, two

__all__ = ["two"]

LEADS = 24
TIMES = {
    "wind_solar": ("raw.wind_solar_forecasts", "hour_utc"),
    "co2_prognosis": ("raw.co2_prognosis", "time_utc"),
    "prices": ("raw.day_ahead_prices", "time_utc"),
}
HEALTHY = utc("2025-01-19T00:00")
"""An issue time of the replay at which all inputs were there."""

AT = {"time": REPLAYED_UNTIL}
SERVED = "SELECT * FROM ml.forecasts WHERE is_served AND issue_time_utc = $time ORDER BY lead_hours"
CALIBRATION = (
    "SELECT * FROM ml.forecast_calibration WHERE issue_time_utc = $time ORDER BY lead_hours"
)


def change(home: Home, sql: str, **params: Any) -> None:
    with home.store.write("test", "test") as tx:
        tx.execute(sql, **params)


def frame(home: Home, sql: str, **params: Any) -> pl.DataFrame:
    with home.store.read("test") as con:
        return query.frame(con, sql, **params)


def issued_again(home: Home, *missing: str) -> Issued:
    """The newest forecast made once more, with nothing known of these groups from then on."""
    for group in missing:
        table, time = TIMES[group]
        change(home, f"DELETE FROM {table} WHERE {time} >= $time", **AT)
    for table in ("ml.forecasts", "ml.forecast_calibration"):
        change(home, f"DELETE FROM {table} WHERE issue_time_utc = $time", **AT)
    return issue(
        home.store, home.settings, issue_time=REPLAYED_UNTIL, now=REPLAYED_UNTIL, run_id="test"
    )


def served(home: Home) -> pl.DataFrame:
    return frame(home, SERVED, **AT)


def width_80(forecast: pl.DataFrame) -> float:
    """Mean width of the 80 % bands in log units: a share of the level, whatever that is."""
    return sum((forecast["p90_g_per_kwh"] / forecast["p10_g_per_kwh"]).log()) / forecast.height


def test_the_groups_are_those_that_are_taken_away_here() -> None:
    assert tuple(TIMES) == GROUPS


@pytest.mark.parametrize(
    "missing", [*((group,) for group in GROUPS), GROUPS], ids=[*GROUPS, "all of them"]
)
def test_without_inputs_of_others_the_champion_answers_and_says_which_it_lacks(
    fresh_copy: Home, missing: tuple[str, ...]
) -> None:
    complete = served(fresh_copy)
    assert complete["inputs_missing"].to_list() == [None] * LEADS
    outcome = issued_again(fresh_copy, *missing)
    found = served(fresh_copy)
    columns = [column for group in missing for column in EXTERNAL_GROUPS[group]]
    assert outcome == Issued("issued", outcome.rows_new, None, tuple(columns))
    assert found["lead_hours"].to_list() == list(range(1, LEADS + 1))
    assert set(found["model_version"]) == {"v0001"}
    assert not found["is_fallback"].any()
    assert set(found["fallback_reason"]) == {None}
    assert set(found["inputs_missing"]) == {", ".join(columns)}
    assert found["p50_g_per_kwh"].to_list() != complete["p50_g_per_kwh"].to_list()
    ordered = found.select(QUANTILE_COLUMNS).to_numpy()
    assert (ordered[:, 1:] >= ordered[:, :-1]).all() and (ordered > 0).all()


def test_without_any_input_from_elsewhere_the_bands_are_wider(fresh_copy: Home) -> None:
    complete = width_80(served(fresh_copy))
    issued_again(fresh_copy, *GROUPS)
    assert width_80(served(fresh_copy)) > complete


def test_with_all_inputs_the_same_forecast_is_made_again(fresh_copy: Home) -> None:
    before = served(fresh_copy)
    assert issued_again(fresh_copy).reason is None
    after = served(fresh_copy)
    assert after.select(QUANTILE_COLUMNS).equals(before.select(QUANTILE_COLUMNS))


@pytest.fixture
def promoted(two: Home) -> Home:
    """A home whose champion is the second version, and the first the champion before."""
    with two.store.write("test", "test") as tx:
        registry.promote(tx, "v0002", valid_from=HEALTHY, reason="test")
    return two


def test_where_the_champion_cannot_the_one_before_answers_and_says_so(promoted: Home) -> None:
    assert issued_again(promoted) == Issued("issued", 6 * LEADS - 2, None)
    assert set(served(promoted)["model_version"]) == {"v0002"}
    damage(promoted, "v0002")
    outcome = issued_again(promoted)
    found = served(promoted)
    assert found.height == LEADS
    assert set(found["model_version"]) == {"v0001"}
    assert found["is_fallback"].all()
    (reason,) = set(found["fallback_reason"])
    assert reason == outcome.reason
    assert reason.startswith("champion v0002 is unusable: ") and "sha256" in reason
    assert set(found["fallback_kind"]) == {"champion_unusable"}
    assert reason.endswith("v0001 answers, the champion before")
    kept = "SELECT DISTINCT model_version FROM ml.forecast_calibration WHERE issue_time_utc = $time"
    assert frame(promoted, kept, **AT)["model_version"].to_list() == ["v0001"]


def test_two_null_price_areas_cost_those_two_columns(fresh_copy: Home) -> None:
    """As in the recordings of February 2025: DE, DK1 and DK2 are there."""
    change(
        fresh_copy,
        "UPDATE raw.day_ahead_prices SET price_eur_per_mwh = NULL"
        " WHERE area IN ('NO2', 'SE3') AND time_utc >= $time",
        **AT,
    )
    assert issued_again(fresh_copy).inputs_missing == (
        "price_no2_eur_per_mwh",
        "price_se3_eur_per_mwh",
    )


def test_whatever_a_champion_does_wrong_the_tick_goes_on_and_says_so(
    fresh_copy: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonsense = served(fresh_copy).with_columns(pl.lit(math.nan).alias("p50_g_per_kwh"))
    for fails, said in (
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: nonsense, "is no number"),
    ):
        monkeypatch.setattr(AttentionForecaster, "predict", lambda *_, fails=fails: fails())
        outcome = issued_again(fresh_copy)
        assert outcome.reason is not None and said in outcome.reason
        assert set(served(fresh_copy)["fallback_kind"]) == {"champion_unusable"}
        assert set(served(fresh_copy)["model_version"]) == {"climatology"}


def test_the_former_champion_forecasts_on_as_a_shadow_so_that_the_change_can_be_judged(
    promoted: Home,
) -> None:
    issued_again(promoted)
    everyone = "SELECT model_version, is_served, is_fallback FROM ml.forecasts"
    said = frame(promoted, f"{everyone} WHERE issue_time_utc = $time AND lead_hours = 1", **AT)
    shadow = said.filter(model_version="v0001").row(0, named=True)
    assert (shadow["is_served"], shadow["is_fallback"]) == (False, False)
    assert said.filter(pl.col("is_served"))["model_version"].to_list() == ["v0002"]


def test_where_neither_can_climatology_answers_uncalibrated(promoted: Home) -> None:
    damage(promoted, "v0001")
    damage(promoted, "v0002")
    outcome = issued_again(promoted)
    found = served(promoted)
    assert (found.height, set(found["model_version"])) == (LEADS, {"climatology"})
    assert found["is_fallback"].all()
    assert (
        outcome.reason is not None and outcome.reason.count("not those that were registered") == 2
    )
    assert frame(promoted, CALIBRATION, **AT).is_empty()


def by_hand(row: dict[str, Any]) -> list[float]:
    """A row of `ml.forecast_calibration` with each band moved, and put in order."""
    moved = {name: row[f"{name}_g_per_kwh"] for name in ("p05", "p10", "p25", "p75", "p90", "p95")}
    for band, (low, high) in {50: ("p25", "p75"), 80: ("p10", "p90"), 90: ("p05", "p95")}.items():
        moved[low] *= math.exp(-row[f"margin_{band}_log"])
        moved[high] *= math.exp(row[f"margin_{band}_log"])
    median = row["p50_g_per_kwh"]
    below = sorted(min(moved[name], median) for name in ("p05", "p10", "p25"))
    above = sorted(max(moved[name], median) for name in ("p75", "p90", "p95"))
    return [*below, median, *above]


def test_what_is_served_is_what_the_model_said_moved_by_the_margins(replayed: Home) -> None:
    key = "area, issue_time_utc, model_version, lead_hours"
    made = frame(replayed, f"SELECT * FROM ml.forecast_calibration ORDER BY {key}")
    shown = frame(replayed, f"SELECT * FROM ml.forecasts WHERE is_served ORDER BY {key}")
    assert made.select(key.split(", ")).equals(shown.select(key.split(", ")))
    assert made.select("margin_50_log", "margin_80_log", "margin_90_log").to_numpy().any()
    for row, quantiles in zip(
        made.iter_rows(named=True), shown.select(QUANTILE_COLUMNS).iter_rows(), strict=True
    ):
        assert quantiles == pytest.approx(by_hand(row))


def test_before_two_weeks_of_forecasts_the_margins_are_those_of_the_holdout(
    replayed: Home,
) -> None:
    of_holdout = frame(
        replayed,
        "SELECT CAST(leads AS INTEGER) AS lead_hours, metric, value FROM ml.model_metrics"
        " WHERE model_version = 'v0001'"
        " AND scope = 'holdout' AND predictor = 'challenger' AND NOT contains(leads, '-')",
    ).pivot("metric", index="lead_hours", values="value")
    expected = {
        row["lead_hours"]: (
            "split", row["n"], *(row[f"margin_{band}"] for band in (50, 80, 90)),
        )
        for row in of_holdout.iter_rows(named=True)
    }  # fmt: skip
    columns = "method, scores, margin_50_log, margin_80_log, margin_90_log"
    made = frame(replayed, f"SELECT lead_hours, {columns} FROM ml.forecast_calibration")
    assert {lead for lead, *_ in made.iter_rows()} == set(range(1, LEADS + 1))
    for lead, *found in made.iter_rows():
        assert tuple(found) == expected[lead]


def test_evidence_is_no_fallbacks_and_of_hours_that_are_over(fresh_copy: Home) -> None:
    change(
        fresh_copy,
        "UPDATE ml.forecasts SET is_fallback = true WHERE is_served AND issue_time_utc = $time",
        time=HEALTHY,
    )
    healthy = frame(
        fresh_copy, "SELECT issue_time_utc FROM ml.forecasts WHERE is_served AND NOT is_fallback"
    )["issue_time_utc"].unique()
    issue_time = utc("2025-01-19T12:00")
    with fresh_copy.store.read("test") as con:
        found = calibration.evidence(con, issue_time)
    assert HEALTHY not in healthy
    assert set(found["issue_time_utc"]) == {time for time in healthy if time < issue_time}
    assert found.height > LEADS
    assert found["valid_time_utc"].max() == issue_time - timedelta(hours=1)
    assert found.filter(pl.col("lead_hours") == 1).height == found["issue_time_utc"].n_unique()


def repeat_daily(home: Home, *, is_fallback: bool, missing: str | None = None) -> None:
    """The forecast of `HEALTHY` again for each of the 25 days before, marked or not."""
    days = "to_days(CAST(day AS INTEGER))"
    shift = f"issue_time_utc - {days} AS issue_time_utc, valid_time_utc - {days} AS valid_time_utc"
    for table, more in (
        ("ml.forecast_calibration", ""),
        (
            "ml.forecasts",
            f", {is_fallback} AS is_fallback, nullif('{missing}', 'None') AS inputs_missing",
        ),
    ):
        change(
            home,
            f"INSERT INTO {table} SELECT made.* REPLACE ({shift}{more}) FROM {table} AS made,"
            " range(1, 26) AS days(day) WHERE issue_time_utc = $time AND model_version = 'v0001'",
            time=HEALTHY,
        )


def test_after_two_weeks_the_margins_are_those_of_the_forecasts_themselves(
    fresh_copy: Home,
) -> None:
    repeat_daily(fresh_copy, is_fallback=False)
    with fresh_copy.store.read("test") as con:
        evidence = calibration.evidence(con, REPLAYED_UNTIL)
    issued_again(fresh_copy)
    made = frame(fresh_copy, CALIBRATION, **AT)
    assert set(made["method"]) == {"rolling"}
    expected = margins_of(evidence, LEADS, "rolling", at=AT["time"])
    assert made["scores"].to_list() == expected.counts.tolist()
    assert made["scores"].min() >= 25
    margins = made.select("margin_50_log", "margin_80_log", "margin_90_log").to_numpy()
    assert margins == pytest.approx(expected.values)


def test_forecasts_without_other_inputs_or_of_another_version_are_no_evidence(
    fresh_copy: Home,
) -> None:
    repeat_daily(fresh_copy, is_fallback=False, missing="co2_prognosis_g_per_kwh")
    issued_again(fresh_copy)
    assert set(frame(fresh_copy, CALIBRATION, **AT)["method"]) == {"split"}
    issued_again(fresh_copy, "co2_prognosis")
    assert set(frame(fresh_copy, CALIBRATION, **AT)["method"]) == {"rolling"}
    for table in ("ml.forecasts", "ml.forecast_calibration"):
        change(
            fresh_copy,
            f"UPDATE {table} SET model_version = 'v0000' WHERE issue_time_utc < $time"
            " AND model_version = 'v0001'",
            **AT,
        )
    issued_again(fresh_copy, "co2_prognosis")
    assert set(frame(fresh_copy, CALIBRATION, **AT)["method"]) == {"split"}


def test_fallbacks_are_no_evidence_however_many(fresh_copy: Home) -> None:
    repeat_daily(fresh_copy, is_fallback=True)
    before = frame(fresh_copy, CALIBRATION, **AT)
    issued_again(fresh_copy)
    after = frame(fresh_copy, CALIBRATION, **AT)
    assert set(after["method"]) == {"split"}
    assert after.drop("commit_id").equals(before.drop("commit_id"))
