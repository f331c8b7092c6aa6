"""Energi Data Service over HTTP: client, parser, publication rules. No Dagster, no DuckDB."""
