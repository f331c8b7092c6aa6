"""Every example of the catalogue of faults, in ticks: what it claims is what happens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest

from co2_assets.replay.fault_catalogue import CATALOGUE, FaultExample
from co2_assets.schema import EXTERNAL_GROUPS, VALUE_COLUMNS
from co2_assets.settings import WINDOW
from co2_assets_tests.end_to_end.test_faults import TABLES
from co2_assets_tests.equality import tables_differ
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, checks, metadata, windows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

IMPATIENT: dict[str, Any] = {
    "request_timeout_s": 2.0,
    "reply_deadline_s": 3.0,
    "request_retries": 2,
}
LATE_MARKS = {"frozen": 2}
"""So many hours of a run are only told by the one after them."""


class Served(NamedTuple):
    """What a served forecast says of itself."""

    version: str
    is_fallback: bool
    reason: str | None
    inputs_missing: str | None


@dataclass
class Calm:
    """A home before and after a tick that nothing disturbs, and after the next; its checks."""

    before: Home
    home: Home
    later: Home
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def calm(replayed: Home, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    home = replayed.copy(folder / "home")
    result = home.clean_tick(REPLAYED_UNTIL)
    later = home.copy(folder / "later")
    later.clean_tick(REPLAYED_UNTIL + WINDOW)
    return Calm(replayed, home, later, result)


@dataclass
class Disturbed:
    """A home after the ticks of an example."""

    example: FaultExample
    home: Home
    results: list[dg.ExecuteInProcessResult]

    @property
    def dataset(self) -> str:
        return str(self.example.faults[0].get("dataset", "PowerSystemRightNow"))

    def differences(self, other: Home, *schemas: str) -> list[str]:
        found = tables_differ(self.home.settings.home, other.settings.home)
        return [line for line in found if line.startswith(schemas or "")]

    def marks(self) -> set[str]:
        """The quality marks of the first window's hours."""
        return {
            kind
            for (kind,) in self.home.rows(
                "SELECT DISTINCT kind FROM co2.data_quality"
                " WHERE dataset = 'PowerSystemRightNow'"
                " AND kind IN ('spike', 'frozen', 'missing', 'partial')"
                " AND hour_utc >= $start AND hour_utc < $end",
                start=REPLAYED_UNTIL,
                end=REPLAYED_UNTIL + WINDOW,
            )
        }

    def served(self) -> Served:
        """What the newest forecast says of itself."""
        *found, leads = self.home.row(
            "SELECT model_version, is_fallback, fallback_reason, inputs_missing, count(*)"
            " FROM co2.ml.forecasts WHERE is_served AND issue_time_utc = $issue GROUP BY ALL",
            issue=REPLAYED_UNTIL + self.example.ticks * WINDOW,
        )
        assert leads == 24
        return Served(*found)

    def hours(self) -> list[tuple[Any, ...]]:
        return _hours(self.home)


def _hours(home: Home) -> list[tuple[Any, ...]]:
    return home.rows(
        f"SELECT hour_utc, quality, {', '.join(VALUE_COLUMNS)} FROM co2.core.aggregated_hours"
        " WHERE hour_utc >= $start AND hour_utc < $end ORDER BY 1",
        start=REPLAYED_UNTIL,
        end=REPLAYED_UNTIL + WINDOW,
    )


@pytest.fixture(params=CATALOGUE, ids=lambda example: example.name)
def disturbed(
    request: pytest.FixtureRequest, replayed: Home, tmp_path: Path
) -> Iterator[Disturbed]:
    example: FaultExample = request.param
    home = replayed.copy(tmp_path / "home", **IMPATIENT)
    until = REPLAYED_UNTIL + example.ticks * WINDOW
    with home.served(*example.faults):
        results = [home.tick(window) for window in windows(REPLAYED_UNTIL, until)]
        yield Disturbed(example, home, results)


def test_the_example_has_the_outcome_that_it_claims(disturbed: Disturbed, calm: Calm) -> None:
    example = disturbed.example
    noticed = _noticed(disturbed, calm)
    {
        "source_failed": _source_failed,
        "marked": _marked,
        "healed": _healed,
        "harmless": _harmless,
        "degraded": _degraded,
        "drift": _unmarked,
        "unnoticed": _unmarked,
    }[example.outcome](disturbed, calm)
    claimed = set(re.findall(r"`([^`]+)`", example.caught_by))
    noticed |= _noticed(disturbed, calm)
    assert claimed <= noticed, noticed
    if not claimed:
        assert not noticed


def _source_failed(disturbed: Disturbed, calm: Calm) -> None:
    table = TABLES[disturbed.dataset]
    (result,) = disturbed.results
    check = checks(result)[(table, "source_answered")]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert check.metadata["dataset"].value == disturbed.dataset
    assert disturbed.example.caught_by.split(": ", 1)[1] in (check.description or "")
    assert metadata(result, table)["status"] == "source_failed"
    if disturbed.dataset == "PowerSystemRightNow":
        served = disturbed.served()
        assert (served.version, served.is_fallback) == ("climatology", True)
        assert served.reason
        assert disturbed.differences(calm.before, "raw.power_system") == []
    else:
        assert disturbed.differences(calm.home) == []


def _marked(disturbed: Disturbed, calm: Calm) -> None:
    kinds = disturbed.marks()
    assert kinds
    wrong_but_ok = [
        found[0]
        for found, true in zip(disturbed.hours(), _hours(calm.home), strict=True)
        if found[1] == "ok" and found[2:] != true[2:]
    ]
    assert len(wrong_but_ok) <= max(LATE_MARKS.get(kind, 0) for kind in kinds)
    scored = disturbed.home.rows(
        "SELECT DISTINCT valid_time_utc FROM co2.ml.forecast_evaluations"
        " JOIN co2.core.aggregated_hours ON hour_utc = valid_time_utc WHERE quality <> 'ok'"
        " AND hour_utc >= $start",
        start=REPLAYED_UNTIL,
    )
    assert scored == []


def _healed(disturbed: Disturbed, calm: Calm) -> None:
    assert disturbed.differences(calm.home, "raw.", "core.") != []
    disturbed.results.append(disturbed.home.tick(REPLAYED_UNTIL + WINDOW))
    assert disturbed.differences(calm.later, "raw.", "core.") == []


def _harmless(disturbed: Disturbed, calm: Calm) -> None:
    assert disturbed.differences(calm.home) == []


def _degraded(disturbed: Disturbed, _calm: Calm) -> None:
    served = disturbed.served()
    assert (served.version, served.is_fallback, served.reason) == ("v0001", False, None)
    claimed = disturbed.example.caught_by.split(": ", 1)[1].split(", ")
    lacking = [column for name in claimed for column in EXTERNAL_GROUPS.get(name, (name,))]
    assert served.inputs_missing == ", ".join(lacking)


def _unmarked(disturbed: Disturbed, calm: Calm) -> None:
    assert disturbed.marks() == set()
    assert {row[1] for row in disturbed.hours()} == {"ok"}
    assert disturbed.differences(calm.home, "raw.") != []
    assert disturbed.served()[:2] == ("v0001", False)
    assert disturbed.served().inputs_missing is None


def _noticed(disturbed: Disturbed, calm: Calm) -> set[str]:
    """All that tells the example's ticks from an undisturbed one."""
    table = TABLES[disturbed.dataset]
    quiet = _red(calm.result)
    told = metadata(calm.result, table)
    return {
        *disturbed.marks(),
        *(name for result in disturbed.results for name in _red(result) - quiet),
        *(
            name
            for result in disturbed.results
            for name in ("rows rejected", "rows revised", "unknown columns")
            if metadata(result, table)[name] != told[name]
        ),
        *(["fallback_reason"] if disturbed.served().is_fallback else []),
        *(["inputs_missing"] if disturbed.served().inputs_missing else []),
    }


def _red(result: dg.ExecuteInProcessResult) -> set[str]:
    # The two that compare days and weeks are as red as the recorded January is unusual.
    return {name for (_, name), check in checks(result).items() if not check.passed} - {
        "coverage_80",
        "inputs_as_in_training",
    }


def test_the_catalogue_is_wide_and_names_each_example_once() -> None:
    names = [example.name for example in CATALOGUE]
    assert len(names) == len(set(names)) >= 36
