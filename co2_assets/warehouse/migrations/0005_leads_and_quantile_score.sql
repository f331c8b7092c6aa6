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
