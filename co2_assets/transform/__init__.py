"""Pure transforms of hours: means of minutes, their quality, the encoder inputs.

No Dagster, no database, no network; every function takes frames and returns a frame.
"""
