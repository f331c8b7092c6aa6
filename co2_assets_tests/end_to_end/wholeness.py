"""What is true of every published state of a home: it holds commits and ticks as a whole."""

from __future__ import annotations

from co2_assets.schema import TABLES

PREDICTORS, LEADS = 3, 24
STAMPED = [table for table in TABLES if "commit_id" in table.column_names]
_NEWEST_STAMP = " UNION ALL ".join(
    f"SELECT max(commit_id) AS stamp FROM {table.qualified_name}" for table in STAMPED
)

COMMITS_WHOLE = f"""
SELECT
    max(commit_id) - min(commit_id) + 1 - count(*) AS commits_missing,
    max(commit_id) < (SELECT max(stamp) FROM ({_NEWEST_STAMP})) AS rows_without_commit,
    (SELECT count(*) FROM (SELECT 1 FROM ml.forecasts
        WHERE model_version NOT LIKE 'energinet%' GROUP BY issue_time_utc
        HAVING count(*) <> {PREDICTORS * LEADS})) AS forecasts_torn
FROM ops.commits
"""
"""One row of zeros in every state, however its writer died."""

TICKS_WHOLE = """
SELECT
    (SELECT count(*) FROM (
        SELECT issue_time_utc FROM ml.forecasts
        EXCEPT SELECT window_end_utc FROM ml.retrain_decisions)) AS issued_not_decided,
    (SELECT count(*) FROM (
        SELECT window_end_utc FROM ml.retrain_decisions
        EXCEPT SELECT issue_time_utc FROM ml.forecasts)) AS decided_not_issued,
    (SELECT max(window_end_utc) FROM ml.retrain_decisions)
        <> (SELECT max(hour_utc) + INTERVAL 1 HOUR FROM core.aggregated_hours) AS hours_apart
"""
"""One row of zeros in every state that undisturbed runs publish: whole ticks."""
