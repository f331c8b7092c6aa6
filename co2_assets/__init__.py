"""Forecasts of the CO2 emission of Danish electricity, as Dagster assets over DuckDB."""
