"""One training in a process of its own, for its time and its peak of memory.

    python -m bench.training FOLDER

reads `history.arrow` and `external.arrow` from the folder, trains the default recipe on all
of it, keeps the version in `FOLDER/version` and prints seconds, megabytes and its hash.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

import polars as pl

from bench.accuracy import CHAMPION, SHAPE
from co2_assets.forecasting.artifact import save
from co2_assets.forecasting.registry import Fit, fit_named

DAYS = 730
HISTORY, EXTERNAL, VERSION = "history.arrow", "external.arrow", "version"


def main(folder: Path) -> None:
    """Train, keep, print."""
    history, external = pl.read_ipc(folder / HISTORY), pl.read_ipc(folder / EXTERNAL)
    end = history["hour_utc"][-1] + timedelta(hours=1)
    started = time.perf_counter()
    model = fit_named(CHAMPION, Fit(history, external, end - timedelta(days=DAYS), end, SHAPE))
    seconds = time.perf_counter() - started
    peak = peak_mb()
    print(
        json.dumps({"ms": 1000 * seconds, "mb": peak, "sha256": save(model, folder / VERSION, {})})
    )


def peak_mb() -> float:
    """The most memory that this process ever held, in units of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` would count what the parent held before it started this
        (line,) = (one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main(Path(sys.argv[1]))
