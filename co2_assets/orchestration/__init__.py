"""All Dagster: a thin shell that reads, calls one pure function, writes and reports.

`build.py` puts the definitions together; nothing here has side effects at import.
Modules that define assets must not postpone annotations: Dagster reads them.
"""
