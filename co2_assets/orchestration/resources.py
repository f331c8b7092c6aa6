"""Resources: the platform's clock, the warehouse and the client of the API.

https://docs.dagster.io/guides/build/external-resources
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import PrivateAttr

from co2_assets.orchestration.living import mark_launched_run
from co2_assets.settings import Settings
from co2_assets.source.clock import clock_now
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.store import HEAD_CONFIG, Warehouse


class Clock(dg.ConfigurableResource):
    """When something happened: the wall clock, or a recorded home's virtual time.

    Only what is recorded as "when" comes from here; what is computed takes its time
    from the partition key.
    """

    source: str
    base_url: str
    clock_file: str

    def now_utc(self) -> datetime:
        """The platform's time, UTC."""
        return clock_now(self.source, self.base_url, Path(self.clock_file))


class WarehouseResource(dg.ConfigurableResource):
    """The warehouse of one home; publishes once at the end of each run, failed or not."""

    home: str
    lock_timeout_s: float
    clock: dg.ResourceDependency[Clock]
    database: dg.ResourceDependency[DuckDBResource]

    _warehouse: Warehouse = PrivateAttr()

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Open nothing yet: each step opens head for as long as it needs."""
        if context.run is not None:
            # A folder that cannot be written is reported by the first step, in its own words.
            with suppress(OSError):
                mark_launched_run(context.run, Layout(Path(self.home)).state)
        self._warehouse = Warehouse(
            Path(self.home),
            lock_timeout_s=self.lock_timeout_s,
            now=self.clock.now_utc,
            connect=self._connect,
        )

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Show readers the whole run at once."""
        self._warehouse.publish()

    @property
    def store(self) -> Warehouse:
        """The warehouse itself."""
        return self._warehouse

    @contextmanager
    def _connect(self, _path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        # DuckDBResource leaves the connection open when the block raises; the store
        # closes it itself in every case, so nothing is left to this manager.
        with self.database.get_connection() as con:
            yield con


def build_resources(settings: Settings) -> dict[str, dg.ConfigurableResource]:
    """The resources of a home, by the names that assets ask for."""
    clock = Clock(
        source=settings.source,
        base_url=settings.base_url,
        clock_file=str(settings.clock_file),
    )
    database = DuckDBResource(
        database=str(Layout(settings.home).head), connection_config=dict(HEAD_CONFIG)
    )
    return {
        "clock": clock,
        "warehouse": WarehouseResource(
            home=str(settings.home),
            lock_timeout_s=settings.lock_timeout_s,
            clock=clock,
            database=database,
        ),
    }
