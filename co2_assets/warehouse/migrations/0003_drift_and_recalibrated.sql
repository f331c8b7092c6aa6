CREATE TABLE ml.input_drift (
    window_start_utc TIMESTAMPTZ NOT NULL,
    column_name VARCHAR NOT NULL,
    psi DOUBLE NOT NULL,
    usual_psi DOUBLE NOT NULL,
    is_unusual BOOLEAN NOT NULL,
    n_hours INTEGER NOT NULL,
    model_version VARCHAR NOT NULL,
    commit_id BIGINT NOT NULL,
    PRIMARY KEY (window_start_utc, column_name)
);

INSERT INTO ml.model_versions
    (model_version, recipe, hyperparameters, features, status, reason, code_version, created_utc, commit_id)
VALUES
    ('energinet_recalibrated', 'energinet_recalibrated', '{}', '["co2_prognosis_g_per_kwh"]',
     'baseline',
     'baseline: Energinet''s own prognosis as known at the issue time, less its mean error of a day',
     '1', TIMESTAMPTZ '1970-01-01 00:00:00+00', 0);
