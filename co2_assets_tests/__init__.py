"""Tests of `co2_assets`; the folders mirror the package."""

import os

# Small networks on busy cores: two threads that wait for each other take up to ten times as
# long as one. Set before torch is imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
