-- Chance and saving are calibrated: a receipt keeps what it said, and what that was made from.
-- Receipts until now said what the forecast said, decided by the upper quartile.
ALTER TABLE ml.window_receipts RENAME TO window_receipts_until_0006;

CREATE TABLE ml.window_receipts (
    area VARCHAR NOT NULL,
    issue_time_utc TIMESTAMPTZ NOT NULL,
    duration_hours INTEGER NOT NULL,
    within_hours INTEGER NOT NULL,
    model_version VARCHAR NOT NULL,
    recommended_start_utc TIMESTAMPTZ NOT NULL,
    expected_g_per_kwh DOUBLE NOT NULL,
    expected_saving_g_per_kwh DOUBLE NOT NULL,
    chance_beats_now DOUBLE NOT NULL,
    quantile DOUBLE NOT NULL,
    preferred_start_utc TIMESTAMPTZ NOT NULL,
    raw_saving_g_per_kwh DOUBLE NOT NULL,
    raw_chance_beats_now DOUBLE NOT NULL,
    is_hindcast BOOLEAN NOT NULL,
    is_fallback BOOLEAN NOT NULL,
    is_settled BOOLEAN NOT NULL,
    unsettled_reason VARCHAR,
    realised_saving_g_per_kwh DOUBLE,
    preferred_saving_g_per_kwh DOUBLE,
    best_start_utc TIMESTAMPTZ,
    best_saving_g_per_kwh DOUBLE,
    regret_g_per_kwh DOUBLE,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (area, issue_time_utc, duration_hours, within_hours)
);

INSERT INTO ml.window_receipts BY NAME
SELECT
    *,
    0.75 AS quantile,
    recommended_start_utc AS preferred_start_utc,
    expected_saving_g_per_kwh AS raw_saving_g_per_kwh,
    chance_beats_now AS raw_chance_beats_now,
    realised_saving_g_per_kwh AS preferred_saving_g_per_kwh
FROM ml.window_receipts_until_0006;

DROP TABLE ml.window_receipts_until_0006;

CREATE TABLE ml.advice_calibration (
    area VARCHAR NOT NULL,
    issue_time_utc TIMESTAMPTZ NOT NULL,
    duration_hours INTEGER NOT NULL,
    within_hours INTEGER NOT NULL,
    chance_shift DOUBLE NOT NULL,
    saving_factor DOUBLE NOT NULL,
    calibrated_on VARCHAR NOT NULL,
    calibration_n INTEGER NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (area, issue_time_utc, duration_hours, within_hours)
);
