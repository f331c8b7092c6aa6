"""Every route says what SQL over the contract's views says."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from co2_assets.schema import QUANTILE_COLUMNS, VIEWS
from co2_assets.serving.api import models
from co2_assets.serving.api.models import view_columns
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, utc
from co2_assets_tests.serving.api.asking import (
    DATA_ROUTES,
    REQUESTS,
    Client,
    answered,
    client,
    sql,
    text,
)

NOW = REPLAYED_UNTIL + timedelta(minutes=5)


def test_every_answer_says_where_it_comes_from(replayed: Home, api: Client) -> None:
    (newest,) = sql(
        replayed,
        "SELECT DISTINCT issue_time_utc, model_version FROM co2.forecast_history WHERE is_served"
        " AND issue_time_utc = (SELECT max(issue_time_utc) FROM co2.forecast_history)",
    )
    for request in [*REQUESTS, "/health"]:
        response = api.get(request)
        answered(response)
        about = response.json()["about"]
        assert about["unit"] == "g/kWh"
        assert about["area"] == "DK"
        assert about["source"] == "recorded"
        assert "Energinet" in about["attribution"]
        assert about["now_utc"] == text(NOW)
        assert about["data_until_utc"] == text(REPLAYED_UNTIL)
        assert about["data_age_minutes"] == 5
        assert about["is_stale"] is False
        if not request.startswith("/explain"):
            assert about["issue_time_utc"] == newest["issue_time_utc"] == text(REPLAYED_UNTIL)
            assert about["model_version"] == newest["model_version"] == "v0001"
        assert response.headers["co2-issue-time"] == about["issue_time_utc"]
        assert response.headers["co2-generation"] == str(about["generation"])
        assert response.headers["co2-is-stale"] == "false"
        assert response.headers["co2-licence"] == "CC BY 4.0"


MODELS = {
    "/last-24h-emissions": models.Emissions,
    "/next-6h-predictions": models.Forecast,
    "/last-6h-predictions-vs-actual": models.Comparison,
    "/best-model": models.BestModel,
    "/forecasts": models.Forecast,
    "/accuracy": models.Accuracy,
    "/scoreboard": models.Scoreboard,
    "/models": models.Models,
    "/retrain-ledger": models.RetrainLedger,
    "/greenest-window": models.GreenestWindow,
    "/window-receipts": models.Receipts,
    "/explain": models.Explanation,
    "/data-quality": models.DataQuality,
}


@pytest.mark.parametrize("path", DATA_ROUTES)
def test_every_answer_fits_its_model_and_every_column_has_a_meaning(api: Client, path: str) -> None:
    model = MODELS[path]
    TypeAdapter(model).validate_json(api.get(path + DATA_ROUTES[path]).content)
    schema = model.model_json_schema()
    for name, one in schema["$defs"].items():
        for field, described in one["properties"].items():
            assert described.get("description"), f"{name}.{field}"
            if field.endswith("_g_per_kwh") or field in ("mae", "crps"):
                assert described["unit"] == "g/kWh", f"{name}.{field}"
            if field.endswith("_mw"):
                assert described["unit"] == "MW"


def test_last_24_hours_are_those_that_end_with_the_newest_measured_one(
    replayed: Home, api: Client
) -> None:
    found = answered(api.get("/last-24h-emissions"))
    assert found == sql(
        replayed,
        "SELECT * FROM co2.actuals WHERE hour_utc >= '2025-01-19 00:00:00+00'"
        " AND hour_utc < '2025-01-20 00:00:00+00' ORDER BY hour_utc",
    )
    assert len(found) == 24
    assert found[-1]["hour_utc"] == "2025-01-19T23:00:00Z"


def test_next_6_hours_begin_with_the_current_hour_at_the_right_lead(
    replayed: Home, api: Client
) -> None:
    found = answered(api.get("/next-6h-predictions"))
    assert [(row["lead_hours"], row["valid_time_utc"]) for row in found] == [
        (lead, text(REPLAYED_UNTIL + timedelta(hours=lead - 1))) for lead in range(1, 7)
    ]
    columns = [column.name for column in view_columns("forecasts") if column.name in found[0]]
    assert found == sql(
        replayed,
        f"SELECT {', '.join(columns)} FROM co2.forecasts"
        " WHERE valid_time_utc >= '2025-01-20 00:00:00+00'"
        " AND valid_time_utc < '2025-01-20 06:00:00+00' ORDER BY valid_time_utc",
    )
    for row in found:
        quantiles = [row[name] for name in QUANTILE_COLUMNS]
        assert quantiles == sorted(quantiles)


@pytest.mark.parametrize(
    ("now", "leads", "stale"),
    [
        ("2025-01-20T05:59", range(6, 12), False),
        ("2025-01-20T06:00", range(7, 13), False),
        ("2025-01-20T18:30", range(19, 25), True),
        ("2025-01-20T20:00", range(21, 25), True),
        ("2025-01-21T00:00", range(0), True),
    ],
)
def test_hours_that_are_past_are_not_next(
    replayed: Home, now: str, leads: range, stale: bool
) -> None:
    response = client(replayed.settings, utc(now)).get("/next-6h-predictions")
    found = answered(response)
    about = response.json()["about"]
    first_hour = utc(now).replace(minute=0)
    assert [row["lead_hours"] for row in found] == [*leads]
    assert [row["valid_time_utc"] for row in found] == [
        text(first_hour + timedelta(hours=index)) for index in range(len(leads))
    ]
    assert about["is_stale"] is stale
    assert about["issue_time_utc"] == "2025-01-20T00:00:00Z"
    short = [note for note in about["notes"] if f"{len(leads)} of the next 6 hours" in note]
    assert len(short) == (len(leads) < 6)


def test_last_6_hours_have_their_newest_forecast_beside_what_followed(
    replayed: Home, api: Client
) -> None:
    found = answered(api.get("/last-6h-predictions-vs-actual"))
    expected = sql(
        replayed,
        "SELECT forecast.valid_time_utc, forecast.lead_hours, forecast.p50_g_per_kwh,"
        " actual.co2_g_per_kwh FROM co2.forecasts AS forecast JOIN co2.actuals AS actual"
        " ON actual.hour_utc = forecast.valid_time_utc"
        " WHERE actual.hour_utc >= '2025-01-19 18:00:00+00' ORDER BY 1",
    )
    assert len(found) == len(expected) == 6
    for row, wanted in zip(found, expected, strict=True):
        assert row["valid_time_utc"] == wanted["valid_time_utc"]
        assert row["lead_hours"] == wanted["lead_hours"]
        assert row["p50_g_per_kwh"] == wanted["p50_g_per_kwh"]
        assert row["actual_g_per_kwh"] == wanted["co2_g_per_kwh"]
        assert row["error_g_per_kwh"] == wanted["p50_g_per_kwh"] - wanted["co2_g_per_kwh"]
    assert [row["lead_hours"] for row in found] == [1, 2, 3, 4, 5, 6]


def test_best_model_is_the_champion(replayed: Home, api: Client) -> None:
    found = answered(api.get("/best-model"))
    (champion,) = sql(replayed, "SELECT * FROM co2.champion")
    assert found == {
        name: json.loads(value) if name in ("hyperparameters", "features", "metrics") else value
        for name, value in champion.items()
    }
    assert found["metrics"]["holdout/challenger/1-6/mae"] > 0


def test_a_newer_version_that_lost_is_not_the_best_model(fresh_copy: Home) -> None:
    """The predecessor served the newest file."""
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute(
            "INSERT INTO ml.model_versions SELECT * REPLACE ('v0002' AS model_version,"
            " 'rejected' AS status, created_utc + INTERVAL 1 DAY AS created_utc)"
            " FROM ml.model_versions WHERE model_version = 'v0001'"
        )
    fresh_copy.store.publish()
    api = client(fresh_copy.settings)
    assert answered(api.get("/models"))[0]["model_version"] == "v0002"
    assert answered(api.get("/best-model"))["model_version"] == "v0001"


def test_models_are_all_versions_with_their_figures(replayed: Home, api: Client) -> None:
    found = {row["model_version"]: row for row in answered(api.get("/models"))}
    expected = sql(replayed, "SELECT * FROM co2.models")
    assert set(found) == {row["model_version"] for row in expected}
    for row in expected:
        for name, value in row.items():
            is_json = name in ("hyperparameters", "features", "metrics") and value is not None
            assert found[row["model_version"]][name] == (json.loads(value) if is_json else value)


def test_forecast_by_issue_time_is_exactly_that_issue(replayed: Home, api: Client) -> None:
    response = api.get("/forecasts?issue_time=2025-01-19T06:00:00Z")
    found = answered(response)
    columns = ", ".join(found[0])
    assert found == sql(
        replayed,
        f"SELECT {columns} FROM co2.forecast_history WHERE is_served"
        " AND issue_time_utc = '2025-01-19 06:00:00+00' ORDER BY lead_hours",
    )
    assert len(found) == 24
    about = response.json()["about"]
    assert about["issue_time_utc"] == "2025-01-19T06:00:00Z"
    assert about["forecast_age_minutes"] == 18 * 60 + 5


@pytest.mark.parametrize(
    ("as_of", "issue_time"),
    [
        # It was issued at 06:02: a minute before, nobody knew it.
        ("2025-01-19T06:01:00Z", "2025-01-19T00:00:00Z"),
        ("2025-01-19T06:05:00Z", "2025-01-19T06:00:00Z"),
        ("2025-01-19T11:59:59Z", "2025-01-19T06:00:00Z"),
        ("2025-01-19T12:59:59%2B01:00", "2025-01-19T06:00:00Z"),
        ("2025-01-19", "2025-01-18T18:00:00Z"),
        ("2030-01-01T00:00:00Z", "2025-01-20T00:00:00Z"),
    ],
)
def test_forecast_as_of_a_time_is_what_was_known_then(
    api: Client, as_of: str, issue_time: str
) -> None:
    response = api.get(f"/forecasts?as_of={as_of}")
    assert {row["issue_time_utc"] for row in answered(response)} == {issue_time}
    assert response.json()["about"]["issue_time_utc"] == issue_time


def test_a_hindcast_was_not_known_at_its_issue_time(fresh_copy: Home) -> None:
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute(
            "UPDATE ml.forecasts SET issued_at_utc = '2025-01-19 20:00:00+00', is_hindcast = true"
            " WHERE issue_time_utc = '2025-01-19 12:00:00+00'"
        )
    fresh_copy.store.publish()
    api = client(fresh_copy.settings)
    then = answered(api.get("/forecasts?as_of=2025-01-19T13:00:00Z"))
    assert then[0]["issue_time_utc"] == "2025-01-19T06:00:00Z"
    asked = answered(api.get("/forecasts?issue_time=2025-01-19T12:00:00Z"))
    assert asked[0]["is_hindcast"] is True


def test_forecast_is_cut_at_the_lead_asked_for(api: Client) -> None:
    found = answered(api.get("/forecasts?leads=2"))
    assert [row["lead_hours"] for row in found] == [1, 2]


def test_accuracy_is_that_of_live_served_forecasts_in_the_span(replayed: Home, api: Client) -> None:
    found = answered(api.get("/accuracy?start=2025-01-19T00:00Z&end=2025-01-20T00:00Z"))
    expected = sql(
        replayed,
        "SELECT lead_hours, count(*) AS n, avg(abs(error_g_per_kwh)) AS mae,"
        " avg(abs(persistence_g_per_kwh - actual_g_per_kwh)) AS persistence_mae,"
        " avg(CAST(actual_g_per_kwh BETWEEN p10_g_per_kwh AND p90_g_per_kwh AS INTEGER))"
        " AS coverage_80"
        " FROM co2.forecast_vs_actual WHERE is_served AND NOT is_hindcast"
        " AND actual_g_per_kwh IS NOT NULL AND valid_time_utc >= '2025-01-19 00:00:00+00'"
        " AND valid_time_utc < '2025-01-20 00:00:00+00' GROUP BY 1 ORDER BY 1",
    )
    assert len(found) == 24
    for row, wanted in zip(found, expected, strict=True):
        assert row["lead_hours"] == wanted["lead_hours"]
        assert row["n"] == wanted["n"]
        assert row["mae"] == pytest.approx(wanted["mae"])
        assert row["persistence_mae"] == pytest.approx(wanted["persistence_mae"])
        assert row["coverage_80"] == pytest.approx(wanted["coverage_80"])
        assert row["skill"] == pytest.approx(1 - wanted["mae"] / wanted["persistence_mae"])
        assert row["start_utc"] == "2025-01-19T00:00:00Z"
        assert row["climatology_mae"] > 0


def test_accuracy_of_a_span_without_forecasts_says_so(api: Client) -> None:
    response = api.get("/accuracy?end=2025-01-18T00:00Z")
    assert answered(response) == []
    assert "no live forecast" in response.json()["about"]["notes"][0]


def test_scoreboard_is_the_view_and_can_be_narrowed(replayed: Home, api: Client) -> None:
    order = "ORDER BY month_utc DESC, lead_hours, predictor"
    everything = answered(api.get("/scoreboard"))
    expected = sql(replayed, f"SELECT * FROM co2.scoreboard {order}")
    assert _close(everything, expected)
    narrowed = answered(api.get("/scoreboard?lead=2&predictor=persistence&month=2025-01"))
    assert _close(
        narrowed,
        sql(
            replayed,
            "SELECT * FROM co2.scoreboard WHERE lead_hours = 2 AND predictor = 'persistence'",
        ),
    )
    assert len(narrowed) == 1
    assert answered(api.get("/scoreboard?month=2024-01")) == []


def _close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Equal but for the last digits: DuckDB sums in an order that changes between runs."""
    return len(found) == len(expected) and all(
        one == pytest.approx(other) for one, other in zip(found, expected, strict=True)
    )


def test_ledger_is_the_view_newest_first(replayed: Home, api: Client) -> None:
    found = answered(api.get("/retrain-ledger?limit=3"))
    assert _close(
        found,
        sql(replayed, "SELECT * FROM co2.retrain_ledger ORDER BY window_start_utc DESC LIMIT 3"),
    )
    assert found[0]["window_end_utc"] == text(REPLAYED_UNTIL)
    assert found[0]["reason"]


def test_data_quality_is_the_view_within_its_span(replayed: Home, api: Client) -> None:
    found = answered(api.get("/data-quality?start=2024-12-01&end=2025-01-20"))
    expected = sql(
        replayed,
        "SELECT * FROM co2.data_quality WHERE hour_utc >= '2024-12-01 00:00:00+00'"
        " AND hour_utc < '2025-01-20 00:00:00+00'"
        " ORDER BY hour_utc DESC, dataset, kind, column_name",
    )
    assert found == expected
    assert found
    week = [row for row in expected if row["hour_utc"] >= "2025-01-13T00:05"]
    assert answered(api.get("/data-quality")) == week


def test_greenest_window_is_the_lowest_of_the_forecast(replayed: Home, api: Client) -> None:
    found = answered(api.get("/greenest-window?duration=3&quantile=0.5"))
    medians = {
        row["valid_time_utc"]: row["p50_g_per_kwh"]
        for row in sql(
            replayed,
            "SELECT valid_time_utc, p50_g_per_kwh FROM co2.forecasts"
            " WHERE valid_time_utc >= '2025-01-20 00:00:00+00' ORDER BY 1",
        )
    }
    values = [*medians.values()]
    means = [sum(values[start : start + 3]) / 3 for start in range(len(values) - 2)]
    assert found["start_utc"] == [*medians][means.index(min(means))]
    assert found["now_g_per_kwh"] == pytest.approx(means[0])
    (calibration,) = sql(
        replayed,
        "SELECT saving_factor, calibrated_on, calibration_n FROM co2.advice_calibration"
        " WHERE issue_time_utc = '2025-01-20 00:00:00+00'"
        " AND duration_hours = 3 AND within_hours = 24",
    )
    saving = calibration["saving_factor"] * (means[0] - min(means))
    assert found["expected_saving_g_per_kwh"] == pytest.approx(saving)
    assert found["expected_g_per_kwh"] == pytest.approx(means[0] - saving)
    assert found["calibrated_on"] == calibration["calibrated_on"]
    assert found["calibration_n"] == calibration["calibration_n"]
    assert [one["expected_g_per_kwh"] for one in found["candidates"]] == pytest.approx(means)
    assert found["hours"] == [
        text(utc(found["start_utc"]) + timedelta(hours=index)) for index in range(3)
    ]
    assert found["horizon_end_utc"] == "2025-01-21T00:00:00Z"
    assert 0 <= found["chance_beats_now"] <= 1
    assert (found["duration_hours"], found["contiguous"], found["quantile"]) == (3, True, 0.5)


def test_a_job_that_may_pause_has_the_lowest_hours(replayed: Home, api: Client) -> None:
    found = answered(
        api.get(
            "/greenest-window?duration=4&contiguous=false&quantile=0.9"
            "&earliest=2025-01-20T02:00Z&deadline=2025-01-20T15:00%2B01:00"
        )
    )
    lowest = sql(
        replayed,
        "SELECT valid_time_utc FROM co2.forecasts WHERE valid_time_utc >= '2025-01-20 02:00:00+00'"
        " AND valid_time_utc < '2025-01-20 14:00:00+00' ORDER BY p90_g_per_kwh LIMIT 4",
    )
    assert found["hours"] == sorted(row["valid_time_utc"] for row in lowest)


def test_explanation_leads_from_a_number_to_its_loads(replayed: Home, api: Client) -> None:
    response = api.get("/explain?valid_time=2025-01-19T14:00Z&issue_time=2025-01-19T06:00Z")
    found = answered(response)
    (origin,) = sql(
        replayed,
        "SELECT * FROM co2.forecast_origin WHERE is_served"
        " AND valid_time_utc = '2025-01-19 14:00:00+00'"
        " AND issue_time_utc = '2025-01-19 06:00:00+00'",
    )
    assert {name: found[name] for name in origin} == origin
    assert found["lead_hours"] == 9
    assert len(found["hours"]) == 24
    hashes = {load["response_sha256"] for load in found["loads"]}
    stored = sql(replayed, "SELECT response_sha256 FROM ops.etl_runs")
    assert hashes and hashes <= {row["response_sha256"] for row in stored}
    assert response.json()["about"]["issue_time_utc"] == "2025-01-19T06:00:00Z"


def test_explanation_is_of_the_newest_forecast_of_an_hour(api: Client) -> None:
    found = answered(api.get("/explain?valid_time=2025-01-19T14:00Z"))
    assert found["issue_time_utc"] == "2025-01-19T12:00:00Z"


def test_receipts_are_the_view_newest_first_and_can_be_narrowed(
    replayed: Home, api: Client
) -> None:
    expected = sql(
        replayed,
        "SELECT * FROM co2.window_receipts"
        " ORDER BY issue_time_utc DESC, duration_hours, within_hours",
    )
    assert answered(api.get("/window-receipts?limit=1000")) == expected
    assert answered(api.get("/window-receipts?duration=2&within=6&limit=1000")) == [
        row for row in expected if (row["duration_hours"], row["within_hours"]) == (2, 6)
    ]


def test_index_names_every_route(api: Client) -> None:
    found = api.get("/").json()
    assert set(DATA_ROUTES) | {"/health", "/metrics"} <= set(found["routes"])
    for path in found["routes"]:
        assert api.get(path).status_code in (200, 422)


def test_every_view_of_the_contract_for_users_has_a_route() -> None:
    """Whoever adds a view decides whether it is served."""
    inside = {"advice_calibration"}  # each answer of /greenest-window says its own
    served = {
        "actuals", "forecast_history", "forecasts", "forecast_vs_actual", "accuracy", "scoreboard",
        "models", "champion", "retrain_ledger", "window_receipts", "forecast_origin",
        "data_quality",
    }  # fmt: skip
    assert {view.name for view in VIEWS} == served | inside


# Fresh, stale, recorded


def test_health_is_200_while_fresh_and_503_with_reasons_when_old(replayed: Home) -> None:
    assert client(replayed.settings, NOW + timedelta(hours=6)).get("/health").status_code == 200
    old = client(replayed.settings, NOW + timedelta(hours=8)).get("/health")
    assert old.status_code == 503
    found = old.json()
    assert found["code"] == "stale"
    assert "measured hours: 8.1 hours old" in found["detail"]
    assert "forecast: 8.1 hours old" in found["detail"]
    assert int(old.headers["retry-after"]) > 0


def test_old_numbers_are_marked_as_stale_everywhere(replayed: Home) -> None:
    api = client(replayed.settings, NOW + timedelta(hours=8))
    for request in REQUESTS:
        response = api.get(request)
        answered(response)
        about = response.json()["about"]
        assert about["is_stale"] is True
        assert len(about["stale_reasons"]) == 2
        assert response.headers["co2-is-stale"] == "true"


def test_metrics_are_the_forecast_its_age_and_how_the_api_does(replayed: Home, api: Client) -> None:
    api.get("/next-6h-predictions")
    api.get("/forecasts?lead=1")
    api.get("/nobody/serves/this")
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families = {one.name: one.samples for one in text_string_to_metric_families(response.text)}
    forecast = {
        (int(one.labels["lead_hours"]), one.labels["quantile"]): one.value
        for one in families["co2_forecast_g_per_kwh"]
    }
    rows = sql(
        replayed,
        "SELECT lead_hours, p10_g_per_kwh, p50_g_per_kwh FROM co2.forecasts"
        " WHERE issue_time_utc = '2025-01-20 00:00:00+00'",
    )
    assert len(forecast) == 24 * 7
    for row in rows:
        assert forecast[row["lead_hours"], "0.5"] == row["p50_g_per_kwh"]
        assert forecast[row["lead_hours"], "0.1"] == row["p10_g_per_kwh"]
    ((actual,),) = ([one.value for one in families["co2_actual_g_per_kwh"]],)
    assert (
        actual
        == sql(
            replayed,
            "SELECT co2_g_per_kwh FROM co2.actuals WHERE co2_g_per_kwh IS NOT NULL"
            " ORDER BY hour_utc DESC LIMIT 1",
        )[0]["co2_g_per_kwh"]
    )
    values = {name: samples[0].value for name, samples in families.items() if samples}
    assert values["co2_is_stale"] == 0
    assert values["co2_forecast_age_seconds"] == 300
    assert values["co2_data_age_seconds"] == 300
    assert values["co2_forecast_issue_time_seconds"] == REPLAYED_UNTIL.timestamp()
    counted = {
        (one.labels["route"], one.labels["status"]): one.value
        for one in families["co2_api_requests"]
        if one.name.endswith("_total")
    }
    assert counted["/next-6h-predictions", "200"] >= 1
    assert counted["/forecasts", "422"] >= 1
    assert counted["other", "404"] >= 1
