-- Bands are calibrated, backtests are kept, and Energinet's own prognosis is scored.
CREATE TABLE ml.forecast_calibration (
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
    margin_50_log DOUBLE NOT NULL,
    margin_80_log DOUBLE NOT NULL,
    margin_90_log DOUBLE NOT NULL,
    scores INTEGER NOT NULL,
    method VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (area, issue_time_utc, model_version, lead_hours)
);

CREATE TABLE ml.backtest (
    model VARCHAR NOT NULL,
    lead_hours INTEGER NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE,
    low DOUBLE,
    high DOUBLE,
    first_issue_utc TIMESTAMPTZ NOT NULL,
    last_issue_utc TIMESTAMPTZ NOT NULL,
    refit VARCHAR NOT NULL,
    dagster_run_id VARCHAR,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (model, lead_hours, metric)
);

INSERT INTO ml.model_versions
    (model_version, recipe, hyperparameters, features, status, reason, code_version, created_utc, commit_id)
VALUES
    ('energinet', 'energinet', '{}', '["co2_prognosis_g_per_kwh"]', 'baseline',
     'baseline: Energinet''s own prognosis, as known at the issue time', '1',
     TIMESTAMPTZ '1970-01-01 00:00:00+00', 0);
