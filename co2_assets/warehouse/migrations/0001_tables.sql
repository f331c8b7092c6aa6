-- The tables of schema.py as first released. Never edited: a change is a new migration.
CREATE SCHEMA IF NOT EXISTS raw;

CREATE SCHEMA IF NOT EXISTS core;

CREATE SCHEMA IF NOT EXISTS ml;

CREATE SCHEMA IF NOT EXISTS ops;

CREATE TABLE raw.power_system (
    minute_utc TIMESTAMPTZ NOT NULL,
    minute_dk TIMESTAMP NOT NULL,
    co2_g_per_kwh DOUBLE,
    central_plants_mw DOUBLE,
    local_plants_mw DOUBLE,
    solar_mw DOUBLE,
    offshore_wind_mw DOUBLE,
    onshore_wind_mw DOUBLE,
    net_import_mw DOUBLE,
    exchange_dk1_de_mw DOUBLE,
    exchange_dk1_nl_mw DOUBLE,
    exchange_dk1_gb_mw DOUBLE,
    exchange_dk1_no_mw DOUBLE,
    exchange_dk1_se_mw DOUBLE,
    exchange_dk1_dk2_mw DOUBLE,
    exchange_dk2_de_mw DOUBLE,
    exchange_dk2_se_mw DOUBLE,
    exchange_bornholm_se_mw DOUBLE,
    afrr_activated_dk1_mw DOUBLE,
    afrr_activated_dk2_mw DOUBLE,
    mfrr_activated_dk1_mw DOUBLE,
    mfrr_activated_dk2_mw DOUBLE,
    imbalance_dk1_mw DOUBLE,
    imbalance_dk2_mw DOUBLE,
    fetched_at_utc TIMESTAMPTZ NOT NULL,
    etl_run_id VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (minute_utc)
);

CREATE TABLE raw.wind_solar_forecasts (
    hour_utc TIMESTAMPTZ NOT NULL,
    area VARCHAR NOT NULL,
    forecast_type VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    forecast_mw DOUBLE,
    first_seen_utc TIMESTAMPTZ,
    available_utc TIMESTAMPTZ,
    fetched_at_utc TIMESTAMPTZ NOT NULL,
    etl_run_id VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (hour_utc, area, forecast_type, kind)
);

CREATE TABLE raw.co2_prognosis (
    time_utc TIMESTAMPTZ NOT NULL,
    area VARCHAR NOT NULL,
    vintage INTEGER NOT NULL,
    co2_g_per_kwh DOUBLE,
    step_minutes INTEGER NOT NULL,
    first_seen_utc TIMESTAMPTZ,
    available_utc TIMESTAMPTZ,
    fetched_at_utc TIMESTAMPTZ NOT NULL,
    etl_run_id VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (time_utc, area, vintage)
);

CREATE TABLE raw.day_ahead_prices (
    time_utc TIMESTAMPTZ NOT NULL,
    area VARCHAR NOT NULL,
    price_eur_per_mwh DOUBLE,
    price_dkk_per_mwh DOUBLE,
    step_minutes INTEGER NOT NULL,
    first_seen_utc TIMESTAMPTZ,
    available_utc TIMESTAMPTZ,
    fetched_at_utc TIMESTAMPTZ NOT NULL,
    etl_run_id VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (time_utc, area)
);

CREATE TABLE core.aggregated_hours (
    hour_utc TIMESTAMPTZ NOT NULL,
    co2_g_per_kwh DOUBLE,
    central_plants_mw DOUBLE,
    local_plants_mw DOUBLE,
    solar_mw DOUBLE,
    offshore_wind_mw DOUBLE,
    onshore_wind_mw DOUBLE,
    net_import_mw DOUBLE,
    co2_cleaned_g_per_kwh DOUBLE,
    central_plants_cleaned_mw DOUBLE,
    local_plants_cleaned_mw DOUBLE,
    solar_cleaned_mw DOUBLE,
    offshore_wind_cleaned_mw DOUBLE,
    onshore_wind_cleaned_mw DOUBLE,
    net_import_cleaned_mw DOUBLE,
    co2_imputed_g_per_kwh DOUBLE,
    central_plants_imputed_mw DOUBLE,
    local_plants_imputed_mw DOUBLE,
    solar_imputed_mw DOUBLE,
    offshore_wind_imputed_mw DOUBLE,
    onshore_wind_imputed_mw DOUBLE,
    net_import_imputed_mw DOUBLE,
    minutes_seen INTEGER NOT NULL,
    is_complete BOOLEAN NOT NULL,
    is_imputed BOOLEAN NOT NULL,
    quality VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (hour_utc)
);

CREATE TABLE core.engineered_features (
    hour_utc TIMESTAMPTZ NOT NULL,
    co2_imputed_g_per_kwh DOUBLE,
    central_plants_imputed_mw DOUBLE,
    local_plants_imputed_mw DOUBLE,
    solar_imputed_mw DOUBLE,
    offshore_wind_imputed_mw DOUBLE,
    onshore_wind_imputed_mw DOUBLE,
    net_import_imputed_mw DOUBLE,
    co2_lag_1h_g_per_kwh DOUBLE,
    co2_lag_2h_g_per_kwh DOUBLE,
    co2_lag_3h_g_per_kwh DOUBLE,
    co2_lag_4h_g_per_kwh DOUBLE,
    co2_lag_5h_g_per_kwh DOUBLE,
    co2_rolling_mean_6h_g_per_kwh DOUBLE,
    co2_rolling_std_6h_g_per_kwh DOUBLE,
    co2_rolling_mean_12h_g_per_kwh DOUBLE,
    co2_rolling_std_12h_g_per_kwh DOUBLE,
    is_usable BOOLEAN NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (hour_utc)
);

CREATE TABLE ml.model_versions (
    model_version VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    train_start_utc TIMESTAMPTZ,
    train_end_utc TIMESTAMPTZ,
    holdout_start_utc TIMESTAMPTZ,
    holdout_end_utc TIMESTAMPTZ,
    seed INTEGER,
    hyperparameters JSON NOT NULL,
    features JSON NOT NULL,
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

CREATE TABLE ml.model_metrics (
    model_version VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    predictor VARCHAR NOT NULL,
    lead_hours INTEGER NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (model_version, scope, predictor, lead_hours, metric)
);

CREATE TABLE ml.model_aliases (
    alias VARCHAR NOT NULL,
    alias_number INTEGER NOT NULL,
    model_version VARCHAR NOT NULL,
    valid_from_utc TIMESTAMPTZ NOT NULL,
    reason VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (alias, alias_number)
);

CREATE TABLE ml.forecasts (
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
    fallback_reason VARCHAR,
    power_system_age_hours DOUBLE,
    wind_solar_age_hours DOUBLE,
    co2_prognosis_age_hours DOUBLE,
    prices_age_hours DOUBLE,
    issued_at_utc TIMESTAMPTZ NOT NULL,
    dagster_run_id VARCHAR,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (area, issue_time_utc, model_version, lead_hours)
);

CREATE TABLE ml.forecast_evaluations (
    area VARCHAR NOT NULL,
    valid_time_utc TIMESTAMPTZ NOT NULL,
    issue_time_utc TIMESTAMPTZ NOT NULL,
    model_version VARCHAR NOT NULL,
    lead_hours INTEGER NOT NULL,
    actual_g_per_kwh DOUBLE NOT NULL,
    p50_g_per_kwh DOUBLE NOT NULL,
    persistence_g_per_kwh DOUBLE,
    climatology_g_per_kwh DOUBLE,
    error_g_per_kwh DOUBLE NOT NULL,
    absolute_error_g_per_kwh DOUBLE NOT NULL,
    percentage_error DOUBLE,
    pinball_g_per_kwh DOUBLE NOT NULL,
    hit_50 BOOLEAN NOT NULL,
    hit_80 BOOLEAN NOT NULL,
    hit_90 BOOLEAN NOT NULL,
    is_served BOOLEAN NOT NULL,
    is_hindcast BOOLEAN NOT NULL,
    is_fallback BOOLEAN NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (area, valid_time_utc, issue_time_utc, model_version)
);

CREATE TABLE ml.retrain_decisions (
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
    cooldown_until_utc TIMESTAMPTZ,
    attempt INTEGER NOT NULL,
    in_flight_run_id VARCHAR,
    decided_at_utc TIMESTAMPTZ NOT NULL,
    dagster_run_id VARCHAR,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (window_start_utc)
);

CREATE TABLE ops.etl_runs (
    etl_run_id VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    url VARCHAR,
    window_start_utc TIMESTAMPTZ NOT NULL,
    window_end_utc TIMESTAMPTZ NOT NULL,
    rows_read BIGINT NOT NULL,
    rows_new BIGINT NOT NULL,
    rows_revised BIGINT NOT NULL,
    rows_unchanged BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL,
    bytes_read BIGINT NOT NULL,
    response_sha256 VARCHAR,
    started_at_utc TIMESTAMPTZ NOT NULL,
    duration_seconds DOUBLE NOT NULL,
    error VARCHAR,
    error_field VARCHAR,
    error_row BIGINT,
    error_found VARCHAR,
    error_expected VARCHAR,
    dagster_run_id VARCHAR,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (etl_run_id)
);

CREATE TABLE ops.commits (
    commit_id BIGINT NOT NULL,
    step VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    rows_written BIGINT NOT NULL,
    committed_at_utc TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (commit_id)
);

CREATE TABLE ops.coverage (
    dataset VARCHAR NOT NULL,
    start_utc TIMESTAMPTZ NOT NULL,
    end_utc TIMESTAMPTZ NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (dataset, start_utc, end_utc)
);

CREATE TABLE ops.watermarks (
    consumer VARCHAR NOT NULL,
    producer VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (consumer, producer)
);

CREATE TABLE ops.schema_migrations (
    number INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    applied_at_utc TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (number)
);

-- The baselines are versions like any other: scored, listed and comparable.
INSERT INTO ml.model_versions
    (model_version, recipe, hyperparameters, features, status, reason, code_version, created_utc, commit_id)
VALUES
    ('persistence', 'persistence', '{}', '["co2_imputed_g_per_kwh"]', 'baseline',
     'baseline: the last known hour goes on', '1', TIMESTAMPTZ '1970-01-01 00:00:00+00', 0),
    ('climatology', 'climatology', '{}', '["co2_imputed_g_per_kwh"]', 'baseline',
     'baseline: damped climatology of the last 28 days', '1', TIMESTAMPTZ '1970-01-01 00:00:00+00', 0);
