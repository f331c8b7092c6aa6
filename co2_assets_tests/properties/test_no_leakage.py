"""What a forecast could not have known has no influence on it, and what it could has.

Measured hours count up to the issue time, what others publish up to the cut-off.

The forecasters themselves are tried in test_no_leakage_core; here it is the whole way from
the stored rows to the issued ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from co2_assets.forecasting.artifact import folder_hash
from co2_assets.orchestration.history import history_start, read_history
from co2_assets.orchestration.issuing import issue
from co2_assets.orchestration.training import TrainingRequest, train
from co2_assets.replay.machine import tick_time
from co2_assets.schema import FEATURE_COLUMNS, VALUE_COLUMNS, cleaned, imputed
from co2_assets.schema import FORECASTS as ISSUED
from co2_assets.settings import WINDOW
from co2_assets.warehouse import query
from co2_assets_tests.homes import FIRST, REPLAYED_UNTIL, Home, windows

pytestmark = pytest.mark.timeout(600)

ISSUES = [window + WINDOW for window in windows(FIRST, REPLAYED_UNTIL)]

MEASURED = {
    "raw.power_system": ("minute_utc", VALUE_COLUMNS),
    "core.aggregated_hours": (
        "hour_utc",
        tuple(twin(name) for name in VALUE_COLUMNS for twin in (str, cleaned, imputed)),
    ),
    "core.engineered_features": ("hour_utc", FEATURE_COLUMNS),
}
FORECASTS = {
    "raw.wind_solar_forecasts": ("forecast_mw",),
    "raw.co2_prognosis": ("co2_g_per_kwh",),
    "raw.day_ahead_prices": ("price_eur_per_mwh", "price_dkk_per_mwh"),
}


def alter_from(home: Home, time: datetime, cutoff: datetime | None = None) -> int:
    """Change every stored raw and core value that could not be known; returns how many.

    Measured: what was measured from `time` on. Forecasts of others: what was published after
    the cut-off.
    """
    changed = 0
    with home.store.write("test", "test") as tx:
        for table, (column, values) in MEASURED.items():
            sets = ", ".join(f"{name} = coalesce({name}, 50) * 3 + 17" for name in values)
            changed += tx.execute(f"UPDATE {table} SET {sets} WHERE {column} >= $time", time=time)
        for table, values in FORECASTS.items():
            sets = ", ".join(f"{name} = coalesce({name}, 50) * 3 + 17" for name in values)
            changed += tx.execute(
                f"UPDATE {table} SET {sets} WHERE available_utc > $time OR available_utc IS NULL",
                time=cutoff or time,
            )
    return changed


def forecasts_of(home: Home, time: datetime) -> list[tuple[Any, ...]]:
    """All rows of an issue time, without what only records how they came to be."""
    with home.store.read("test") as con:
        return query.rows(
            con,
            f"SELECT {', '.join(ISSUED.compared_columns)} FROM {ISSUED.qualified_name}"
            " WHERE issue_time_utc = $time ORDER BY model_version, lead_hours",
            time=time,
        )


def issued_again(home: Home, time: datetime, now: datetime) -> None:
    """Make the forecast of an issue time anew, as if it had never been."""
    with home.store.write("test", "test") as tx:
        tx.execute("DELETE FROM ml.forecasts WHERE issue_time_utc = $time", time=time)
    issue(home.store, home.settings, issue_time=time, now=now, run_id="again")


@pytest.fixture(scope="module")
def from_the_last_issue_backwards(
    replayed: Home, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[datetime, tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], int]]]:
    """By issue time: the forecasts as issued, and as issued anew over an altered future.

    The newest issue time comes first, so that the past of each is still as it was.
    """
    home = replayed.copy(tmp_path_factory.mktemp("altered") / "home")
    home.clean_tick(REPLAYED_UNTIL)  # so that the newest of the issue times has a future, too
    found = {}
    for time in reversed(ISSUES):
        before = forecasts_of(home, time)
        cutoff = tick_time(home.settings, time - WINDOW)
        changed = alter_from(home, time, cutoff)
        issued_again(home, time, cutoff)
        found[time] = before, forecasts_of(home, time), changed
    yield found


@pytest.mark.parametrize("time", ISSUES, ids=lambda time: f"{time:%dT%H}")
def test_altering_everything_that_could_not_be_known_leaves_the_forecast_bit_identical(
    from_the_last_issue_backwards: dict[datetime, tuple[list[Any], list[Any], int]],
    time: datetime,
) -> None:
    before, after, changed = from_the_last_issue_backwards[time]
    assert len(before) > 3 * 24
    assert after == before
    assert changed > 0


def test_altering_the_hour_before_the_issue_time_does_change_the_forecast(
    fresh_copy: Home,
) -> None:
    time = REPLAYED_UNTIL
    before = forecasts_of(fresh_copy, time)
    alter_from(fresh_copy, time - timedelta(hours=1), tick_time(fresh_copy.settings, time))
    issued_again(fresh_copy, time, tick_time(fresh_copy.settings, time - WINDOW))
    after = forecasts_of(fresh_copy, time)
    by_version = [(row[2], row != other) for row, other in zip(before, after, strict=True)]
    assert {version for version, is_other in by_version if is_other} == {
        "v0001",
        "persistence",
        "climatology",
        "energinet_recalibrated",
    }


def test_altering_everything_from_the_end_of_training_on_leaves_the_artifact_bit_identical(
    fresh_copy: Home, replayed: Home
) -> None:
    end = replayed.value("SELECT train_end_utc FROM co2.champion")
    assert alter_from(fresh_copy, end, end + fresh_copy.settings.issue_delay) > 0
    with fresh_copy.store.write("test", "test") as tx:
        # As if this were the first training: the registry is empty again.
        tx.execute("DELETE FROM ml.model_aliases")
        tx.execute("DELETE FROM ml.model_metrics")
        tx.execute("DELETE FROM ml.model_versions WHERE status <> 'baseline'")
    train(
        fresh_copy.store,
        fresh_copy.settings,
        TrainingRequest(now=end, run_id="again", created_at=end),
        lambda _line: None,
    )
    first, again = (home.settings.home / "artifacts" / "v0001" for home in (replayed, fresh_copy))
    assert folder_hash(first) == folder_hash(again)


def test_a_history_holds_nothing_from_its_end_on(replayed: Home) -> None:
    time = FIRST + WINDOW
    with replayed.store.read("test") as con:
        history = read_history(con, history_start(replayed.settings, time), time)
    assert history["hour_utc"].max() == time - timedelta(hours=1)
