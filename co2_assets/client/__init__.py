"""A small typed client of the API, on `requests`: what the platform forecasts, in Python.

    with Co2Client("http://127.0.0.1:8000") as co2:
        for hour in co2.next_hours():
            print(hour.valid_time_utc, hour.p50_g_per_kwh)

Every answer carries `about`: where it comes from, how old it is, `is_stale`. Times are aware,
UTC, and mark the beginning of their hour. Fields have the names of the API, and of the views of
the warehouse; one that this version does not know is left out.
"""

from co2_assets.client.answers import (
    About,
    Answer,
    Candidate,
    Champion,
    ComparedHour,
    EmissionHour,
    FeatureHour,
    ForecastHour,
    LeadAccuracy,
    LedgerRow,
    Load,
    ModelVersion,
    Origin,
    QualityFinding,
    Receipt,
    ScoreboardRow,
    Table,
    Window,
)
from co2_assets.client.http import Co2ApiError, Co2ApiUnreachable, Co2Client

__all__ = [
    "About",
    "Answer",
    "Candidate",
    "Champion",
    "Co2ApiError",
    "Co2ApiUnreachable",
    "Co2Client",
    "ComparedHour",
    "EmissionHour",
    "FeatureHour",
    "ForecastHour",
    "LeadAccuracy",
    "LedgerRow",
    "Load",
    "ModelVersion",
    "Origin",
    "QualityFinding",
    "Receipt",
    "ScoreboardRow",
    "Table",
    "Window",
]
