-- One column says which leads a figure is of: 1, 2, ..., 1-6, 7-24, 1-24.
CREATE TABLE ml.model_metrics_by_leads (
    model_version VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    predictor VARCHAR NOT NULL,
    leads VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (model_version, scope, predictor, leads, metric)
);

-- The quantile score is weighted from now on; what was measured before keeps its figure under
-- a name of its own.
INSERT INTO ml.model_metrics_by_leads
SELECT
    model_version, scope, predictor,
    CASE
        WHEN lead_hours > 0 THEN CAST(lead_hours AS VARCHAR)
        ELSE '1-' || CAST(max(lead_hours) OVER (PARTITION BY model_version) AS VARCHAR)
    END,
    CASE metric WHEN 'crps' THEN 'crps_unweighted' ELSE metric END,
    value, commit_id
FROM ml.model_metrics;

-- Sums of what was kept by lead: where the horizon is longer, the mission's leads had no figure.
INSERT INTO ml.model_metrics_by_leads
SELECT
    figure.model_version, figure.scope, figure.predictor, '1-6', figure.metric,
    sum(figure.value * count.value) / sum(count.value), max(figure.commit_id)
FROM ml.model_metrics AS figure
JOIN ml.model_metrics AS count USING (model_version, scope, predictor, lead_hours)
WHERE lead_hours BETWEEN 1 AND 6 AND count.metric = 'n'
    AND figure.metric IN ('mae', 'bias', 'coverage_80')
    AND figure.model_version IN (
        SELECT model_version FROM ml.model_metrics GROUP BY ALL HAVING max(lead_hours) > 6
    )
GROUP BY figure.model_version, figure.scope, figure.predictor, figure.metric;

DROP TABLE ml.model_metrics;
ALTER TABLE ml.model_metrics_by_leads RENAME TO model_metrics;

CREATE TABLE ml.backtest_by_leads (
    model VARCHAR NOT NULL,
    leads VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE,
    low DOUBLE,
    high DOUBLE,
    first_issue_utc TIMESTAMPTZ NOT NULL,
    last_issue_utc TIMESTAMPTZ NOT NULL,
    refit VARCHAR NOT NULL,
    dagster_run_id VARCHAR,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (model, leads, metric)
);

INSERT INTO ml.backtest_by_leads
SELECT
    model,
    CASE lead_hours
        WHEN 0 THEN '1-' || CAST(least(6, max(lead_hours) OVER ()) AS VARCHAR)
        WHEN -1 THEN '1-' || CAST(max(lead_hours) OVER () AS VARCHAR)
        ELSE CAST(lead_hours AS VARCHAR)
    END,
    CASE WHEN metric IN ('crps', 'pinball') THEN metric || '_unweighted' ELSE metric END,
    value, low, high, first_issue_utc, last_issue_utc, refit, dagster_run_id, commit_id
FROM ml.backtest;

DROP TABLE ml.backtest;
ALTER TABLE ml.backtest_by_leads RENAME TO backtest;

-- Stored scores are of stored quantiles, so they can be weighted afterwards.
UPDATE ml.forecast_evaluations AS scored
SET pinball_g_per_kwh =
    0.075 * greatest(0.05 * (actual_g_per_kwh - p05_g_per_kwh), 0.95 * (p05_g_per_kwh - actual_g_per_kwh))
    + 0.1 * greatest(0.1 * (actual_g_per_kwh - p10_g_per_kwh), 0.9 * (p10_g_per_kwh - actual_g_per_kwh))
    + 0.2 * greatest(0.25 * (actual_g_per_kwh - p25_g_per_kwh), 0.75 * (p25_g_per_kwh - actual_g_per_kwh))
    + 0.25 * 0.5 * abs(actual_g_per_kwh - made.p50_g_per_kwh)
    + 0.2 * greatest(0.75 * (actual_g_per_kwh - p75_g_per_kwh), 0.25 * (p75_g_per_kwh - actual_g_per_kwh))
    + 0.1 * greatest(0.9 * (actual_g_per_kwh - p90_g_per_kwh), 0.1 * (p90_g_per_kwh - actual_g_per_kwh))
    + 0.075 * greatest(0.95 * (actual_g_per_kwh - p95_g_per_kwh), 0.05 * (p95_g_per_kwh - actual_g_per_kwh))
FROM ml.forecasts AS made
WHERE made.area = scored.area AND made.issue_time_utc = scored.issue_time_utc
    AND made.model_version = scored.model_version AND made.lead_hours = scored.lead_hours;

-- Three states of a forecast: full, degraded (inputs_missing) and fallback.
CREATE TABLE ml.forecasts_with_state (
    area VARCHAR NOT NULL,
    issue_time_utc TIMESTAMPTZ NOT NULL,
    model_version VARCHAR NOT NULL,
    lead_hours INTEGER NOT NULL,
    valid_time_utc TIMESTAMPTZ NOT NULL,
    p05_g_per_kwh DOUBLE NOT NULL,
    p10_g_per_kwh DOUBLE NOT NULL,
    p25_g_per_kwh DOUBLE NOT NULL,
    p50_g_per_kwh DOUBLE NOT NULL,
    p75_g_per_kwh DOUBLE NOT NULL,
    p90_g_per_kwh DOUBLE NOT NULL,
    p95_g_per_kwh DOUBLE NOT NULL,
    is_served BOOLEAN NOT NULL,
    is_hindcast BOOLEAN NOT NULL,
    is_fallback BOOLEAN NOT NULL,
    fallback_kind VARCHAR,
    fallback_reason VARCHAR,
    inputs_missing VARCHAR,
    cutoff_utc TIMESTAMPTZ,
    power_system_age_hours DOUBLE,
    wind_solar_age_hours DOUBLE,
    co2_prognosis_age_hours DOUBLE,
    prices_age_hours DOUBLE,
    issued_at_utc TIMESTAMPTZ NOT NULL,
    dagster_run_id VARCHAR,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (area, issue_time_utc, model_version, lead_hours)
);

-- Before, a champion that lacked a group of inputs was called a fallback. It is no other model:
-- its forecasts are evidence for calibration and for the retrain rule.
INSERT INTO ml.forecasts_with_state
WITH told AS (
    SELECT *,
        is_fallback AND fallback_reason LIKE 'without %: not published by the issue time'
            AND NOT contains(fallback_reason, ';') AS is_degraded
    FROM ml.forecasts
)
SELECT
    area, issue_time_utc, model_version, lead_hours, valid_time_utc,
    p05_g_per_kwh, p10_g_per_kwh, p25_g_per_kwh, p50_g_per_kwh, p75_g_per_kwh, p90_g_per_kwh,
    p95_g_per_kwh, is_served, is_hindcast, is_fallback AND NOT is_degraded,
    NULL,
    CASE WHEN NOT is_degraded THEN fallback_reason END,
    CASE WHEN is_degraded THEN concat_ws(', ',
        CASE WHEN contains(fallback_reason, 'wind_solar') THEN
            'offshore_wind_forecast_mw, onshore_wind_forecast_mw, solar_forecast_mw' END,
        CASE WHEN contains(fallback_reason, 'co2_prognosis') THEN 'co2_prognosis_g_per_kwh' END,
        CASE WHEN contains(fallback_reason, 'prices') THEN
            'price_de_eur_per_mwh, price_dk1_eur_per_mwh, price_dk2_eur_per_mwh, price_no2_eur_per_mwh, price_se3_eur_per_mwh' END
    ) END,
    NULL,
    power_system_age_hours, wind_solar_age_hours, co2_prognosis_age_hours, prices_age_hours,
    issued_at_utc, dagster_run_id, commit_id
FROM told;

DROP TABLE ml.forecasts;
ALTER TABLE ml.forecasts_with_state RENAME TO forecasts;

UPDATE ml.forecast_evaluations AS scored SET is_fallback = false
FROM ml.forecasts AS made
WHERE made.area = scored.area AND made.issue_time_utc = scored.issue_time_utc
    AND made.model_version = scored.model_version AND made.lead_hours = scored.lead_hours
    AND scored.is_fallback AND NOT made.is_fallback;

UPDATE ml.window_receipts AS receipt SET is_fallback = false
FROM ml.forecasts AS made
WHERE made.area = receipt.area AND made.issue_time_utc = receipt.issue_time_utc
    AND made.model_version = receipt.model_version AND made.lead_hours = 1
    AND receipt.is_fallback AND NOT made.is_fallback;

-- A changed value is a vintage of its own, known from when it was seen. What is stored was known
-- at the latest by its publication rule: 19:00 and 14:00 Danish time on the day before.
CREATE TABLE raw.wind_solar_vintages (
    hour_utc TIMESTAMPTZ NOT NULL,
    area VARCHAR NOT NULL,
    forecast_type VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    vintage INTEGER NOT NULL,
    forecast_mw DOUBLE,
    first_seen_utc TIMESTAMPTZ,
    available_utc TIMESTAMPTZ,
    fetched_at_utc TIMESTAMPTZ NOT NULL,
    etl_run_id VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (hour_utc, area, forecast_type, kind, vintage)
);

INSERT INTO raw.wind_solar_vintages
SELECT hour_utc, area, forecast_type, kind, 1, forecast_mw, first_seen_utc,
    least(available_utc, (
        date_trunc('day', hour_utc AT TIME ZONE 'Europe/Copenhagen') - INTERVAL 5 HOUR
    ) AT TIME ZONE 'Europe/Copenhagen'),
    fetched_at_utc, etl_run_id, commit_id
FROM raw.wind_solar_forecasts;

DROP TABLE raw.wind_solar_forecasts;
ALTER TABLE raw.wind_solar_vintages RENAME TO wind_solar_forecasts;

CREATE TABLE raw.day_ahead_price_vintages (
    time_utc TIMESTAMPTZ NOT NULL,
    area VARCHAR NOT NULL,
    vintage INTEGER NOT NULL,
    price_eur_per_mwh DOUBLE,
    price_dkk_per_mwh DOUBLE,
    step_minutes INTEGER NOT NULL,
    first_seen_utc TIMESTAMPTZ,
    available_utc TIMESTAMPTZ,
    fetched_at_utc TIMESTAMPTZ NOT NULL,
    etl_run_id VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (time_utc, area, vintage)
);

INSERT INTO raw.day_ahead_price_vintages
SELECT time_utc, area, 1, price_eur_per_mwh, price_dkk_per_mwh, step_minutes, first_seen_utc,
    least(available_utc, (
        date_trunc('day', time_utc AT TIME ZONE 'Europe/Copenhagen') - INTERVAL 10 HOUR
    ) AT TIME ZONE 'Europe/Copenhagen'),
    fetched_at_utc, etl_run_id, commit_id
FROM raw.day_ahead_prices;

DROP TABLE raw.day_ahead_prices;
ALTER TABLE raw.day_ahead_price_vintages RENAME TO day_ahead_prices;

-- What a training had to do without, and what the retrain rule goes by since.
CREATE TABLE ml.model_versions_with_inputs (
    model_version VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    train_start_utc TIMESTAMPTZ,
    train_end_utc TIMESTAMPTZ,
    holdout_start_utc TIMESTAMPTZ,
    holdout_end_utc TIMESTAMPTZ,
    seed INTEGER,
    hyperparameters JSON NOT NULL,
    features JSON NOT NULL,
    inputs_missing VARCHAR,
    data_fingerprint VARCHAR,
    artifact_path VARCHAR,
    artifact_sha256 VARCHAR,
    status VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    decision_window_start_utc TIMESTAMPTZ,
    code_version VARCHAR NOT NULL,
    created_utc TIMESTAMPTZ NOT NULL,
    training_seconds DOUBLE,
    dagster_run_id VARCHAR,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (model_version)
);

INSERT INTO ml.model_versions_with_inputs BY NAME FROM ml.model_versions;

DROP TABLE ml.model_versions;
ALTER TABLE ml.model_versions_with_inputs RENAME TO model_versions;

CREATE TABLE ml.retrain_decisions_with_inputs (
    window_start_utc TIMESTAMPTZ NOT NULL,
    window_end_utc TIMESTAMPTZ NOT NULL,
    decision VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    pseudo_accuracy DOUBLE,
    n_forecasts INTEGER NOT NULL,
    n_values INTEGER NOT NULL,
    skill DOUBLE,
    faulty_share DOUBLE NOT NULL,
    newest_hours_faulty BOOLEAN NOT NULL,
    champion VARCHAR,
    champion_problem VARCHAR,
    inputs_awaited VARCHAR,
    inputs_healed VARCHAR,
    cooldown_until_utc TIMESTAMPTZ,
    attempt INTEGER NOT NULL,
    in_flight_run_id VARCHAR,
    decided_at_utc TIMESTAMPTZ NOT NULL,
    dagster_run_id VARCHAR,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (window_start_utc)
);

INSERT INTO ml.retrain_decisions_with_inputs BY NAME FROM ml.retrain_decisions;

DROP TABLE ml.retrain_decisions;
ALTER TABLE ml.retrain_decisions_with_inputs RENAME TO retrain_decisions;
