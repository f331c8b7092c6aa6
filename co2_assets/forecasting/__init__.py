"""The forecasting core: pure, from frames to frames. No Dagster, no database, no network.

A history is a frame with one row per hour, contiguous, in order: `hour_utc`, the encoder
inputs of `schema.FEATURE_COLUMNS`, `is_usable` (no input is null), `co2_g_per_kwh` (the
actual: null unless the hour is complete and ok) and `is_trainable`.
"""
