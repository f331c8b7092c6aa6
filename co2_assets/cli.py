"""`co2`: one verb per command. Heavy imports wait inside the command that needs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from co2_assets.errors import Co2Error, SettingsError, WarehouseError
from co2_assets.settings import WINDOW, Settings, load_settings, settings_table

if TYPE_CHECKING:
    from co2_assets.orchestration.launch import Ports
    from co2_assets.schema import Table
    from co2_assets.warehouse.store import Warehouse


class Co2Group(click.Group):
    """Shows our own errors as one line with their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a `Co2Error` becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except Co2Error as error:
            fail(error)


def fail(error: Co2Error) -> NoReturn:
    """Say what failed, where, what was found and expected, and what to do; then exit."""
    click.secho(f"error: {error.what}", err=True, fg="red", bold=True)
    for label, value in (
        ("where", error.where),
        ("found", error.found),
        ("expected", error.expected),
        ("next", error.next_step),
    ):
        if value:
            click.echo(f"  {label + ':':<10}{value}", err=True)
    raise SystemExit(error.exit_code)


@click.group(cls=Co2Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", type=click.Path(path_type=Path), help="CO2_HOME; default .co2")
@click.version_option(package_name="co2_assets")
@click.pass_context
def main(ctx: click.Context, home: Path | None) -> None:
    """CO2 forecasts of Danish electricity: a Dagster platform over DuckDB."""
    ctx.obj = home


def _settings(ctx: click.Context, **overrides: Any) -> Settings:
    return load_settings(home=ctx.obj, **overrides)


def _say(line: str) -> None:
    click.echo(f"{datetime.now(UTC):%H:%M:%S} {line}")


class UtcTime(click.ParamType[datetime]):
    """A time such as 2025-01-18, 2025-01-18T06 or 2025-01-18T06:00, UTC, on certain hours."""

    def __init__(self, name: str, every_hours: int, said: str) -> None:
        self.name = name
        self._every_hours = every_hours
        self._said = said

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Parse, and refuse what is not on such an hour."""
        if isinstance(value, datetime):
            return value
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2025-01-18T06:00", param, ctx)
        time = time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
        if time.hour % self._every_hours or time.minute or time.second or time.microsecond:
            self.fail(f"{value!r} is not on {self._said}", param, ctx)
        return time


WINDOW_TYPE = UtcTime("window", 6, "00, 06, 12 or 18 UTC")
HOUR_TYPE = UtcTime("hour", 1, "the hour")


def _ports(command: Callable[..., None]) -> Callable[..., None]:
    """Options that become one argument `ports`; a port of 0 leaves its face out."""

    @click.option("--port", default=3000, show_default=True, help="Port of Dagster's UI.")
    @click.option("--api-port", default=8000, show_default=True, help="Of the API; 0 is none.")
    @click.option(
        "--dashboard-port", default=8501, show_default=True, help="Of the dashboard; 0 is none."
    )
    @wraps(command)
    def with_ports(*args: Any, port: int, api_port: int, dashboard_port: int, **rest: Any) -> None:
        from co2_assets.orchestration.launch import Ports

        command(*args, ports=Ports(port, api_port or None, dashboard_port or None), **rest)

    return with_ports


@main.command()
@click.pass_context
def init(ctx: click.Context) -> None:
    """Make the home: folders, DAGSTER_HOME, an empty warehouse."""
    from co2_assets.orchestration.home import prepare_home
    from co2_assets.warehouse.store import Warehouse

    settings = prepare_home(_settings(ctx))
    Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s).publish()
    click.echo(f"{settings.home} holds {settings.source} data from {settings.first_window}")


@main.command("settings")
@click.pass_context
def show_settings(ctx: click.Context) -> None:
    """List every setting with its value, its variable and its meaning."""
    settings = _settings(ctx)
    for name, field in Settings.model_fields.items():
        click.echo(f"CO2_{name.upper():<28}{getattr(settings, name)!s:<28}{field.description}")


@main.command()
@_ports
@click.pass_context
def run(ctx: click.Context, ports: Ports) -> None:
    """Run on live data: a first tick at once, then Dagster, API and dashboard."""
    from co2_assets.orchestration.launch import first_tick, serve

    first_tick(_settings(ctx), _say)
    serve(_settings(ctx), ports, _say)


@main.command()
@click.option(
    "--serve/--no-serve", "serve_ui", default=True, help="Leave UI, API and dashboard running."
)
@click.option("--fresh", is_flag=True, help="Delete the demo's home and begin anew.")
@click.option("--days", default=14, show_default=True, help="Recorded days to replay.")
@_ports
@click.pass_context
def demo(ctx: click.Context, serve_ui: bool, fresh: bool, days: int, ports: Ports) -> None:
    """Replay the last recorded days offline, in .demo, then serve them."""
    from co2_assets.replay.demo import run_demo

    run_demo(
        ctx.obj or Path(".demo"),
        days=days,
        fresh=fresh,
        ports=ports if serve_ui else None,
        say=_say,
    )


@main.command()
@click.option("--from", "start", type=WINDOW_TYPE, required=True, help="Start of the first window.")
@click.option("--to", "end", type=WINDOW_TYPE, required=True, help="End of the last window.")
@click.option("--faults", type=click.Path(path_type=Path), help="Plan of faults, YAML.")
@click.pass_context
def replay(ctx: click.Context, start: datetime, end: datetime, faults: Path | None) -> None:
    """Run the real ticks of recorded windows, sensor included; goes on where it stopped."""
    from co2_assets.replay.faults import FaultPlan
    from co2_assets.replay.machine import replay as run_replay
    from co2_assets.replay.recordings import Recordings
    from co2_assets.settings import read_home

    plan = FaultPlan.load(faults) if faults else None
    given = _settings(ctx)
    if read_home(given.home) is None:
        Recordings.load(given.recorded_dir)
        given = _settings(ctx, source="recorded", first_window=start, last_window=end)
    report = run_replay(given, start=start, end=end, faults=plan, say=_say)
    click.echo(
        f"{report.ticks} ticks run, {report.skipped} were there already,"
        f" {len(report.trainings)} trainings"
    )


@main.command("recorded-server")
@click.option("--faults", type=click.Path(path_type=Path), help="Plan of faults, YAML.")
@click.pass_context
def recorded_server(ctx: click.Context, faults: Path | None) -> None:
    """Serve the recordings over HTTP on loopback, as Energi Data Service would."""
    from co2_assets.replay.faults import FaultPlan
    from co2_assets.replay.recordings import Recordings
    from co2_assets.replay.server import RecordedServer

    settings = _settings(ctx)
    server = RecordedServer(
        Recordings.load(settings.recorded_dir),
        port=settings.recorded_port,
        clock_file=settings.clock_file if settings.source == "recorded" else None,
        faults=FaultPlan.load(faults) if faults else None,
    )
    click.echo(f"recorded data on http://127.0.0.1:{settings.recorded_port}; Ctrl-C ends it")
    server.run_forever()


@main.command()
@click.option("--window", type=WINDOW_TYPE, help="Start of the window; default the newest ended.")
@click.pass_context
def tick(ctx: click.Context, window: datetime | None) -> None:
    """Run one tick in this process, with a training first where there is no champion."""
    from co2_assets.orchestration.launch import run_tick

    run_tick(_settings(ctx), window, _say)


@main.command()
@click.argument("dataset")
@click.option("--window", type=WINDOW_TYPE, help="Start of the window; default the newest ended.")
@click.pass_context
def fetch(ctx: click.Context, dataset: str, window: datetime | None) -> None:
    """Load one dataset by hand: what a tick loads, but a failure exits non-zero."""
    from co2_assets.orchestration.home import prepare_home
    from co2_assets.orchestration.launch import newest_window
    from co2_assets.orchestration.loading import Loader
    from co2_assets.source.clock import platform_now
    from co2_assets.warehouse.store import Warehouse

    table = _raw_table(dataset)
    settings = prepare_home(_settings(ctx))

    def now() -> datetime:
        return platform_now(settings)

    start = window or newest_window(settings, now())
    warehouse = Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s, now=now)
    try:
        report = Loader(warehouse, settings, now, "co2 fetch", _say).load(
            table, (start, start + WINDOW)
        )
    finally:
        warehouse.publish()
    if report.error:
        raise report.error
    click.echo(
        f"{table.qualified_name}: {report.rows_read:,} rows read, {report.rows_new:,} new,"
        f" {report.rows_revised:,} revised, {report.rows_rejected:,} rejected"
    )


def _raw_table(dataset: str) -> Table:
    from co2_assets.schema import (
        CO2_PROGNOSIS,
        DAY_AHEAD_PRICES,
        POWER_SYSTEM,
        WIND_SOLAR_FORECASTS,
    )

    names = {
        "powersystemrightnow": POWER_SYSTEM,
        "forecasts_hour": WIND_SOLAR_FORECASTS,
        "co2emisprog": CO2_PROGNOSIS,
        "elspotprices": DAY_AHEAD_PRICES,
        "dayaheadprices": DAY_AHEAD_PRICES,
    }
    names |= {table.name: table for table in names.values()}
    try:
        return names[dataset.lower()]
    except KeyError:
        raise SettingsError(
            "unknown dataset",
            where="argument DATASET of `co2 fetch`",
            found=dataset,
            expected="PowerSystemRightNow, Forecasts_Hour, CO2EmisProg, DayAheadPrices"
            " or Elspotprices, or the table's name",
        ) from None


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say what is stored, how the champion does live, and what is stale."""
    from co2_assets.source.clock import platform_now
    from co2_assets.warehouse.status import describe, read_status

    settings = _settings(ctx)
    now = _or_none(lambda: platform_now(settings))
    found = read_status(settings, now)
    click.echo(json.dumps(found, indent=2, default=_as_json) if as_json else describe(found))


def _or_none(read: Callable[[], datetime]) -> datetime | None:
    try:
        return read()
    except SettingsError:
        return None


def _as_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@main.command()
@click.argument("query", required=False)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table")
@click.pass_context
def sql(ctx: click.Context, query: str | None, form: str) -> None:
    """Run one SQL query on the published copy, or open a read-only shell."""
    from co2_assets.warehouse.shell import run_query, run_shell

    settings = _settings(ctx)
    if query:
        run_query(settings.home, query, form, sys.stdout)
    else:
        run_shell(settings.home, sys.stdin, sys.stdout)


@main.command()
@click.option(
    "--valid-time", type=HOUR_TYPE, required=True, help="The hour that was forecast, UTC."
)
@click.option("--issue-time", type=HOUR_TYPE, help="Which forecast of it; the newest by default.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def explain(
    ctx: click.Context, valid_time: datetime, issue_time: datetime | None, as_json: bool
) -> None:
    """Say of one forecast value which model, data and runs it came from."""
    from co2_assets.warehouse import explain as explaining

    found = explaining.explain(_settings(ctx).home, valid_time, issue_time)
    click.echo(
        json.dumps(found, indent=2, default=_as_json) if as_json else explaining.describe(found)
    )


class Step(click.ParamType[timedelta]):
    """A whole number of hours such as 1h or 6h."""

    name = "hours"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Parse, and refuse what is no positive number of hours."""
        if isinstance(value, timedelta):
            return value
        text = str(value).removesuffix("h")
        if not text.isdecimal() or int(text) == 0:
            self.fail(f"{value!r} is not a number of hours like 6h", param, ctx)
        return timedelta(hours=int(text))


@main.command()
@click.option("--from", "start", type=WINDOW_TYPE, help="First issue time; default eight weeks.")
@click.option("--to", "end", type=WINDOW_TYPE, help="End of the issue times; default the newest.")
@click.option("--every", type=Step(), default="6h", show_default=True, help="Between issue times.")
@click.option("--models", help="Comma-separated; default the champion's recipe and its baselines.")
@click.option("--refit", type=click.Choice(["never", "monthly"]), default="monthly")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures here.")
@click.pass_context
def backtest(
    ctx: click.Context,
    start: datetime | None,
    end: datetime | None,
    every: timedelta,
    models: str | None,
    refit: str,
    out: Path | None,
) -> None:
    """Compare models by rolling-origin forecasts over the stored hours."""
    from rich.console import Console

    from co2_assets.forecasting.backtest import run_backtest
    from co2_assets.orchestration import backtesting
    from co2_assets.orchestration.reports import backtest_tables
    from co2_assets.warehouse.reader import open_published

    settings = _settings(ctx)
    with open_published(settings.home) as con:
        plan = backtesting.make_plan(
            con,
            settings,
            start=start,
            end=end,
            every=every,
            models=tuple(models.split(",")) if models else backtesting.DEFAULT_MODELS,
            refit=backtesting.known_refit(refit),
        )
        data = backtesting.read_dataset(con, settings, plan)
    found = run_backtest(*data, plan, lambda line: click.echo(line, err=True))
    if out:
        out.write_text(json.dumps(backtesting.as_json(found), indent=1) + "\n")
    console = Console()
    for table in backtest_tables(found):
        console.print(table)


@main.group()
def model() -> None:
    """List, show, compare, promote and roll back model versions."""


@model.command("list")
@click.pass_context
def list_models(ctx: click.Context) -> None:
    """All trained versions, how they did at the gate, and which one serves."""
    from rich.console import Console

    from co2_assets.orchestration.reports import versions_table
    from co2_assets.warehouse.reader import open_published

    with open_published(_settings(ctx).home) as con:
        Console().print(versions_table(con))


@model.command("show")
@click.argument("version")
@click.pass_context
def show_model(ctx: click.Context, version: str) -> None:
    """A version's card: recipe, ranges, hyperparameters, figures."""
    from co2_assets.warehouse import registry
    from co2_assets.warehouse.reader import open_published

    settings = _settings(ctx)
    with open_published(settings.home) as con:
        found = registry.version_named(con, version)
    click.echo((settings.home / found.artifact_path / "card.json").read_text(), nl=False)


@model.command("promote")
@click.argument("version")
@click.option("--reason", default="promoted", show_default=True, help="Kept with the alias.")
@click.pass_context
def promote_model(ctx: click.Context, version: str, reason: str) -> None:
    """Make a version champion from now on; its artifact is verified first."""
    from co2_assets.orchestration import models

    settings, warehouse, now = _writer(ctx)
    made = models.promote(warehouse, settings, version, now=now, reason=reason)
    click.echo(f"{made.model_version} is champion from {now:%Y-%m-%d %H:%M} UTC on")


@model.command("rollback")
@click.option("--reason", default="rolled back", show_default=True, help="Kept with the alias.")
@click.pass_context
def roll_back_model(ctx: click.Context, reason: str) -> None:
    """Make the previous champion champion again."""
    from co2_assets.orchestration import models

    settings, warehouse, now = _writer(ctx)
    made = models.roll_back(warehouse, settings, now=now, reason=reason)
    click.echo(f"{made.model_version} is champion again from {now:%Y-%m-%d %H:%M} UTC on")


@model.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("--days", default=28, show_default=True, help="Newest days to compare on.")
@click.pass_context
def compare_models(ctx: click.Context, first: str, second: str, days: int) -> None:
    """Two versions on the newest hours that neither was trained on."""
    from rich.console import Console

    from co2_assets.orchestration import models
    from co2_assets.orchestration.reports import comparison_table

    settings, warehouse, _ = _writer(ctx)
    found = models.compare(warehouse, settings, first, second, days=days)
    Console().print(comparison_table(found, first, second))


def _writer(ctx: click.Context) -> tuple[Settings, Warehouse, datetime]:
    """Settings, the warehouse, and the platform's time."""
    from co2_assets.source.clock import platform_now
    from co2_assets.warehouse.store import Warehouse

    settings = _settings(ctx)
    now = platform_now(settings)
    return settings, Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s), now


@main.command()
@click.option("--days", default=7, show_default=True, help="Days before the newest forecast hour.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("co2.html"))
@click.pass_context
def chart(ctx: click.Context, days: int, out: Path) -> None:
    """Write an interactive chart of forecasts and actuals, one HTML file."""
    from co2_assets.serving.chart import write_chart

    hours = write_chart(_settings(ctx).home, out, days=days)
    click.echo(f"wrote {out}: {hours} hours")


@main.command()
@click.pass_context
def compact(ctx: click.Context) -> None:
    """Rewrite the warehouse without its free blocks, and publish it."""
    from co2_assets.warehouse.store import Warehouse

    settings = _settings(ctx)
    warehouse = Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s)
    before, after = warehouse.compact()
    warehouse.publish()
    click.echo(f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after")


@main.command()
@click.pass_context
def publish(ctx: click.Context) -> None:
    """Publish commits that are not public yet."""
    from co2_assets.warehouse.store import Warehouse

    settings = _settings(ctx)
    published = Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s).publish()
    click.echo("all commits were public" if published is None else f"published {published}")


@main.command()
@_ports
@click.pass_context
def ui(ctx: click.Context, ports: Ports) -> None:
    """Open Dagster's UI, API and dashboard on a home that exists."""
    from co2_assets.orchestration.launch import serve

    serve(_settings(ctx), ports, _say)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.pass_context
def api(ctx: click.Context, host: str, port: int) -> None:
    """Serve the published copy over HTTP, read-only; /docs explains it."""
    _need_extra("serve", "fastapi", "prometheus_client", "limits")
    import uvicorn

    from co2_assets.serving.api.app import create_app

    settings = _settings(ctx)
    _bring_up_to_date(settings)
    uvicorn.run(create_app(settings), host=host, port=port, access_log=False, server_header=False)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8501, show_default=True, help="Port to listen on.")
@click.pass_context
def dashboard(ctx: click.Context, host: str, port: int) -> None:
    """Show now, the next hours, the greenest window and how far to trust them."""
    _need_extra("serve", "streamlit")
    from co2_assets.serving.dashboard import launch

    settings = _settings(ctx)
    _bring_up_to_date(settings)
    command = launch.command(settings, port, host)
    os.environ["CO2_HOME"] = str(settings.home)
    os.execv(command[0], command)  # noqa: S606, our own command; it takes our place and signals


def _bring_up_to_date(settings: Settings) -> None:
    """Before serving a home of an earlier version; one that cannot be written says so itself."""
    from co2_assets.warehouse.reader import bring_up_to_date

    with suppress(WarehouseError):
        bring_up_to_date(settings.home)


def _need_extra(extra: str, *packages: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise SettingsError(
            "an optional part is not installed",
            where=f"extra {extra}",
            found="no " + ", ".join(missing),
            next_step=f"pip install 'co2_assets[{extra}]'",
        )


@main.command("greenest")
@click.option("--duration", default=1, show_default=True, help="Whole hours that the job runs.")
@click.option("--earliest", type=HOUR_TYPE, help="No hour before it, UTC; default now.")
@click.option("--deadline", type=HOUR_TYPE, help="The job must have ended by then, UTC.")
@click.option("--pause/--no-pause", default=False, help="The job may pause: the lowest hours.")
@click.option("--quantile", type=float, help="Which one decides: 0.5, 0.75 or 0.9.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def greenest_window(
    ctx: click.Context,
    duration: int,
    earliest: datetime | None,
    deadline: datetime | None,
    pause: bool,
    quantile: float | None,
    as_json: bool,
) -> None:
    """Say which coming hours are the greenest for a job, and how sure that is."""
    from co2_assets.forecasting.greenest import WindowRequest, describe, recommend
    from co2_assets.serving.contract import advice_calibrations, newest_forecast
    from co2_assets.source.clock import platform_now
    from co2_assets.warehouse.reader import open_published

    settings = _settings(ctx)
    request = WindowRequest(duration, earliest, deadline, not pause, quantile)
    with open_published(settings.home) as con:
        forecast = newest_forecast(con)
        calibrations = advice_calibrations(con)
    found = recommend(forecast, request, platform_now(settings), calibrations)
    click.echo(
        json.dumps(asdict(found), indent=2, default=_as_json) if as_json else describe(found)
    )


@main.command()
@click.option("--check", is_flag=True, help="Only say whether the pages are current.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("docs"))
def docs(folder: Path, check: bool) -> None:
    """Write the generated parts of the documentation: tables, views, settings, faults."""
    from co2_assets.replay.fault_catalogue import faults_page
    from co2_assets.warehouse.document import warehouse_page

    operations = folder / "operations.md"
    pages = {
        folder / "warehouse.md": warehouse_page(),
        folder / "faults.md": faults_page(),
        operations: _between_markers(operations.read_text(), "settings", settings_table()),
    }
    for page, text in pages.items():
        if not check:
            page.write_text(text)
            click.echo(f"wrote {page}")
        elif not page.exists() or page.read_text() != text:
            raise SettingsError(
                "a generated page is not current", where=str(page), next_step="run `make docs`"
            )


def _between_markers(page: str, name: str, text: str) -> str:
    """The page with `text` between its two markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


if __name__ == "__main__":
    main()
