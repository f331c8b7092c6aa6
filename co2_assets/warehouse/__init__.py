"""All DuckDB: one private head for writers, published generations for readers.

Here belong SQL, migrations, locks and files. What rows mean is decided in `schema.py`,
how they are computed in `transform/` and `forecasting/`; nothing here knows Dagster.
"""
