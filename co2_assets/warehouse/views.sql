-- The contract for people, API and dashboard. Bodies name schema and table, never the
-- catalog, so that a view means the same in co2.duckdb, in a copy and after ATTACH.

CREATE OR REPLACE VIEW main.actuals AS
SELECT
    hour_utc,
    'DK' AS area,
    CASE WHEN is_complete AND quality = 'ok' THEN co2_cleaned_g_per_kwh END AS co2_g_per_kwh,
    co2_imputed_g_per_kwh,
    quality,
    minutes_seen,
    central_plants_cleaned_mw AS central_plants_mw,
    local_plants_cleaned_mw AS local_plants_mw,
    solar_cleaned_mw AS solar_mw,
    offshore_wind_cleaned_mw AS offshore_wind_mw,
    onshore_wind_cleaned_mw AS onshore_wind_mw,
    net_import_cleaned_mw AS net_import_mw
FROM core.aggregated_hours;

CREATE OR REPLACE VIEW main.forecast_history AS
SELECT
    area, issue_time_utc, valid_time_utc, lead_hours, model_version,
    p05_g_per_kwh, p10_g_per_kwh, p25_g_per_kwh, p50_g_per_kwh,
    p75_g_per_kwh, p90_g_per_kwh, p95_g_per_kwh,
    issued_at_utc, is_served, is_hindcast, is_fallback, fallback_reason, inputs_missing
FROM ml.forecasts;

CREATE OR REPLACE VIEW main.forecasts AS
SELECT *
FROM main.forecast_history
WHERE is_served
QUALIFY row_number() OVER (PARTITION BY area, valid_time_utc ORDER BY issue_time_utc DESC) = 1;

CREATE OR REPLACE VIEW main.forecast_vs_actual AS
SELECT
    history.*,
    actuals.co2_g_per_kwh AS actual_g_per_kwh,
    history.p50_g_per_kwh - actuals.co2_g_per_kwh AS error_g_per_kwh,
    persistence.p50_g_per_kwh AS persistence_g_per_kwh
FROM main.forecast_history AS history
LEFT JOIN main.actuals AS actuals
    ON actuals.area = history.area AND actuals.hour_utc = history.valid_time_utc
LEFT JOIN ml.forecasts AS persistence
    ON persistence.area = history.area
    AND persistence.issue_time_utc = history.issue_time_utc
    AND persistence.lead_hours = history.lead_hours
    AND persistence.model_version = 'persistence';

-- Live forecasts only: a hindcast never counts.
CREATE OR REPLACE VIEW main.accuracy AS
SELECT
    area,
    model_version,
    lead_hours,
    CAST(valid_time_utc AT TIME ZONE 'UTC' AS DATE) AS day_utc,
    count(*) AS n,
    avg(absolute_error_g_per_kwh) AS mae,
    sqrt(avg(error_g_per_kwh ** 2)) AS rmse,
    avg(error_g_per_kwh ** 2) AS mse,
    avg(percentage_error) AS mape,
    100 * sum(absolute_error_g_per_kwh) / nullif(sum(actual_g_per_kwh), 0) AS wape,
    avg(error_g_per_kwh) AS bias,
    1 - avg(error_g_per_kwh ** 2) / nullif(var_pop(actual_g_per_kwh), 0) AS r2,
    100 - avg(percentage_error) AS pseudo_accuracy,
    2 * avg(pinball_g_per_kwh) AS crps,
    avg(CAST(hit_80 AS INTEGER)) AS coverage_80,
    1 - avg(absolute_error_g_per_kwh) FILTER (persistence_g_per_kwh IS NOT NULL)
        / nullif(avg(abs(persistence_g_per_kwh - actual_g_per_kwh)), 0) AS skill
FROM ml.forecast_evaluations
WHERE NOT is_hindcast
GROUP BY ALL;

CREATE OR REPLACE VIEW main.scoreboard AS
WITH scored AS (
    SELECT *, model_version AS predictor FROM ml.forecast_evaluations WHERE NOT is_hindcast
    UNION ALL
    SELECT *, 'champion' AS predictor FROM ml.forecast_evaluations
    WHERE is_served AND NOT is_hindcast
)
SELECT
    area,
    date_trunc('month', valid_time_utc AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS month_utc,
    lead_hours,
    predictor,
    count(*) AS n,
    avg(absolute_error_g_per_kwh) AS mae,
    2 * avg(pinball_g_per_kwh) AS crps,
    1 - avg(absolute_error_g_per_kwh) FILTER (persistence_g_per_kwh IS NOT NULL)
        / nullif(avg(abs(persistence_g_per_kwh - actual_g_per_kwh)), 0) AS skill
FROM scored
GROUP BY ALL;

CREATE OR REPLACE VIEW main.models AS
SELECT
    version.model_version, version.recipe, version.created_utc,
    version.train_start_utc, version.train_end_utc,
    version.holdout_start_utc, version.holdout_end_utc,
    version.seed, version.hyperparameters, version.features, metrics.metrics,
    version.artifact_path, version.artifact_sha256, version.data_fingerprint,
    version.status, version.reason
FROM ml.model_versions AS version
LEFT JOIN (
    SELECT
        model_version,
        json_group_object(
            concat_ws('/', scope, predictor, leads, metric), value
        ) AS metrics
    FROM ml.model_metrics
    GROUP BY model_version
) AS metrics USING (model_version);

CREATE OR REPLACE VIEW main.champion AS
SELECT models.*, alias.valid_from_utc
FROM main.models AS models
JOIN (
    SELECT * FROM ml.model_aliases
    WHERE alias = 'champion'
    ORDER BY alias_number DESC
    LIMIT 1
) AS alias USING (model_version);

-- What a change of champion was worth: both versions forecast for the 14 days after it, and
-- are compared on the hours that both forecast.
CREATE OR REPLACE VIEW main.retrain_ledger AS
WITH changes AS (
    SELECT
        champion.model_version, former.model_version AS former_version,
        champion.valid_from_utc
    FROM ml.model_aliases AS champion
    JOIN ml.model_aliases AS former
        ON former.alias = 'previous' AND former.valid_from_utc = champion.valid_from_utc
    WHERE champion.alias = 'champion'
),
worth AS (
    SELECT
        changes.model_version,
        any_value(changes.former_version) AS former_version,
        count(*) AS n_compared,
        avg(after.absolute_error_g_per_kwh) AS mae_after,
        avg(instead.absolute_error_g_per_kwh) AS mae_instead
    FROM changes
    JOIN ml.forecast_evaluations AS after
        ON after.model_version = changes.model_version
        AND after.issue_time_utc >= changes.valid_from_utc
        AND after.issue_time_utc < changes.valid_from_utc + INTERVAL 14 DAY
    JOIN ml.forecast_evaluations AS instead
        ON instead.area = after.area
        AND instead.valid_time_utc = after.valid_time_utc
        AND instead.issue_time_utc = after.issue_time_utc
        AND instead.model_version = changes.former_version
    WHERE NOT after.is_hindcast AND after.lead_hours <= 6
    GROUP BY changes.model_version
)
SELECT
    decision.window_start_utc, decision.window_end_utc,
    decision.decision, decision.rule, decision.reason,
    decision.pseudo_accuracy, decision.n_forecasts, decision.skill, decision.faulty_share,
    decision.champion, decision.cooldown_until_utc, decision.in_flight_run_id,
    version.dagster_run_id AS training_run_id,
    version.model_version AS trained_version,
    version.status || ': ' || version.reason AS gate_outcome,
    worth.mae_instead - worth.mae_after AS worth_g_per_kwh,
    worth.n_compared AS worth_n
FROM ml.retrain_decisions AS decision
LEFT JOIN ml.model_versions AS version
    ON version.decision_window_start_utc = decision.window_start_utc
LEFT JOIN worth ON worth.model_version = version.model_version;

CREATE OR REPLACE VIEW main.window_receipts AS
SELECT
    area, issue_time_utc, duration_hours, within_hours, model_version,
    recommended_start_utc, expected_g_per_kwh, expected_saving_g_per_kwh, chance_beats_now,
    quantile, preferred_start_utc, raw_saving_g_per_kwh, raw_chance_beats_now,
    is_hindcast, is_fallback, is_settled, unsettled_reason,
    realised_saving_g_per_kwh, preferred_saving_g_per_kwh,
    best_start_utc, best_saving_g_per_kwh, regret_g_per_kwh
FROM ml.window_receipts;

CREATE OR REPLACE VIEW main.advice_calibration AS
SELECT
    area, issue_time_utc, duration_hours, within_hours,
    chance_shift, saving_factor, calibrated_on, calibration_n
FROM ml.advice_calibration;

-- From one forecast value back to what it was made from.
CREATE OR REPLACE VIEW main.forecast_origin AS
WITH minutes AS (
    SELECT
        date_trunc('hour', minute_utc) AS hour_utc,
        count(*) AS minutes,
        min(fetched_at_utc) AS first_fetched_utc,
        max(fetched_at_utc) AS last_fetched_utc,
        list(DISTINCT etl_run_id) AS etl_run_ids
    FROM raw.power_system
    GROUP BY 1
)
SELECT
    made.area, made.issue_time_utc, made.valid_time_utc, made.lead_hours, made.model_version,
    made.p10_g_per_kwh, made.p50_g_per_kwh, made.p90_g_per_kwh,
    made.is_served, made.is_hindcast, made.is_fallback, made.fallback_reason,
    made.inputs_missing, made.cutoff_utc, made.issued_at_utc, made.dagster_run_id,
    version.recipe, version.train_start_utc, version.train_end_utc,
    version.artifact_sha256, version.data_fingerprint,
    version.dagster_run_id AS training_run_id,
    count(features.hour_utc) AS feature_hours,
    min(features.hour_utc) AS first_feature_hour_utc,
    max(features.hour_utc) AS last_feature_hour_utc,
    CAST(coalesce(sum(minutes.minutes), 0) AS BIGINT) AS raw_minutes,
    min(minutes.first_fetched_utc) AS first_fetched_utc,
    max(minutes.last_fetched_utc) AS last_fetched_utc,
    list_sort(list_distinct(flatten(list(minutes.etl_run_ids)))) AS etl_run_ids,
    any_value(actuals.co2_g_per_kwh) AS actual_g_per_kwh
FROM ml.forecasts AS made
LEFT JOIN ml.model_versions AS version USING (model_version)
LEFT JOIN core.engineered_features AS features
    ON features.hour_utc < made.issue_time_utc
    AND features.hour_utc >= made.issue_time_utc - INTERVAL 24 HOUR
LEFT JOIN minutes ON minutes.hour_utc = features.hour_utc
LEFT JOIN main.actuals AS actuals
    ON actuals.area = made.area AND actuals.hour_utc = made.valid_time_utc
GROUP BY ALL;

CREATE OR REPLACE VIEW main.data_quality AS
WITH reported AS (
    UNPIVOT (
        SELECT
            hour_utc, quality, commit_id,
            CASE WHEN co2_cleaned_g_per_kwh IS NULL THEN co2_g_per_kwh END AS co2_g_per_kwh,
            CASE WHEN central_plants_cleaned_mw IS NULL THEN central_plants_mw END
                AS central_plants_mw,
            CASE WHEN local_plants_cleaned_mw IS NULL THEN local_plants_mw END AS local_plants_mw,
            CASE WHEN solar_cleaned_mw IS NULL THEN solar_mw END AS solar_mw,
            CASE WHEN offshore_wind_cleaned_mw IS NULL THEN offshore_wind_mw END
                AS offshore_wind_mw,
            CASE WHEN onshore_wind_cleaned_mw IS NULL THEN onshore_wind_mw END AS onshore_wind_mw,
            CASE WHEN net_import_cleaned_mw IS NULL THEN net_import_mw END AS net_import_mw
        FROM core.aggregated_hours
        WHERE quality IN ('spike', 'frozen')
    )
    ON co2_g_per_kwh, central_plants_mw, local_plants_mw, solar_mw, offshore_wind_mw,
        onshore_wind_mw, net_import_mw
    INTO NAME column_name VALUE value
)
SELECT
    'PowerSystemRightNow' AS dataset,
    reported.hour_utc,
    reported.quality AS kind,
    reported.column_name,
    CAST(round(reported.value, 2) AS VARCHAR) AS value,
    CASE reported.quality
        WHEN 'frozen' THEN 'a value that changes within three hours'
        ELSE 'a value near those of the day before'
    END AS expected,
    commits.committed_at_utc AS detected_utc
FROM reported
LEFT JOIN ops.commits AS commits USING (commit_id)
UNION ALL
SELECT
    'PowerSystemRightNow',
    hours.hour_utc,
    CASE WHEN hours.minutes_seen = 0 THEN 'missing' ELSE 'partial' END,
    NULL,
    CAST(hours.minutes_seen AS VARCHAR) || ' minutes',
    'at least 45 minutes',
    commits.committed_at_utc
FROM core.aggregated_hours AS hours
LEFT JOIN ops.commits AS commits USING (commit_id)
WHERE NOT hours.is_complete
UNION ALL
SELECT
    runs.dataset, runs.window_start_utc, 'source_failed', runs.error_field,
    coalesce(runs.error_found, runs.error), runs.error_expected, runs.started_at_utc
FROM ops.etl_runs AS runs
WHERE runs.status = 'source_failed'
UNION ALL
SELECT
    'PowerSystemRightNow', drift.window_start_utc, 'input_drift', drift.column_name,
    'PSI ' || CAST(round(drift.psi, 2) AS VARCHAR),
    'PSI up to ' || CAST(round(greatest(drift.usual_psi, 0.25), 2) AS VARCHAR)
        || ', as in the training of ' || drift.model_version,
    commits.committed_at_utc
FROM ml.input_drift AS drift
LEFT JOIN ops.commits AS commits USING (commit_id)
WHERE drift.is_unusual;
