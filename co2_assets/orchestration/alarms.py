"""What a person has to know: a run that failed, what grew old, fallback after fallback.

Each is a line in the log and, where `webhook_url` is set, a JSON message there (Slack,
Mattermost and Teams read its `text`). An alarm that cannot be delivered is said in the log
and never stops anything.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass

import dagster as dg
import requests
from urllib3.util import Retry

from co2_assets.errors import WarehouseError
from co2_assets.settings import Settings
from co2_assets.source.clock import platform_now
from co2_assets.warehouse.forecasts import fallbacks_in_a_row
from co2_assets.warehouse.reader import open_published
from co2_assets.warehouse.status import stale

LOGGER = logging.getLogger("co2_assets.alarms")
TIMEOUT_S = 10.0
RETRIES = Retry(
    total=3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
)
FRESHNESS_INTERVAL_S = 600


@dataclass(frozen=True)
class Alarm:
    """One message.

    Attributes:
        kind: `run_failed`, `stale` or `fresh_again`.
        text: all of it in one line.
        next_step: what to do.
        where: run id, or home.
    """

    kind: str
    text: str
    next_step: str
    where: str


def raise_alarm(settings: Settings, alarm: Alarm) -> bool:
    """Log it and send it; whether it was delivered, or there was nowhere to send it to."""
    LOGGER.error("%s; next: %s (%s)", alarm.text, alarm.next_step, alarm.where)
    if settings.webhook_url is None:
        return True
    body = asdict(alarm) | {"text": f"co2_assets: {alarm.text}. Next: {alarm.next_step}"}
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=RETRIES))
            reply = session.post(
                settings.webhook_url.get_secret_value(), json=body, timeout=TIMEOUT_S
            )
            reply.raise_for_status()
    except requests.RequestException as error:
        # Its text may hold the address, which is as good as a password.
        LOGGER.error("the webhook took no alarm: %s", type(error).__name__)  # noqa: TRY400
        return False
    return True


def run_failure_alarm(settings: Settings) -> dg.SensorDefinition:
    """Reports each failed run once; RUNNING by default."""

    @dg.run_failure_sensor(
        name="report_failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="a log line and a webhook message for each failed run",
    )
    def report_failed_runs(context: dg.RunFailureSensorContext) -> None:
        raise_alarm(settings, failed_run(context))

    return report_failed_runs


def failed_run(context: dg.RunFailureSensorContext) -> Alarm:
    """What to say of a failed run: job, window, step, the innermost cause."""
    run = context.dagster_run
    window = run.tags.get("dagster/partition")
    steps = context.get_step_failure_events()
    step, said = "run", context.failure_event.message or "no message"
    if steps:
        step = steps[0].step_key or step
        error = steps[0].step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        said = error.message.strip() if error else said
    return Alarm(
        kind="run_failed",
        text=f"{run.job_name}{f' {window}' if window else ''} failed at {step}: {said}",
        next_step="read the run's log in Dagster's UI; `catch_up` tries a tick again by itself",
        where=f"run {run.run_id}",
    )


def freshness_alarm(settings: Settings) -> dg.SensorDefinition:
    """Says once what grew old by its own time, or that fallbacks go on, and once that it ended."""

    @dg.sensor(
        name="watch_freshness",
        minimum_interval_seconds=FRESHNESS_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="an alarm when the newest hour or forecast is old by its own time, or when one"
        " forecast after another is a fallback",
    )
    def watch_freshness(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if settings.source == "recorded":
            return dg.SkipReason("recorded data do not age")
        found = _stale_now(settings)
        was = json.loads(context.cursor) if context.cursor else []
        names = [line.split(":")[0] for line in found]
        if names == was:
            return dg.SkipReason("; ".join(found) or "all is fresh")
        raise_alarm(settings, _freshness(settings, found))
        return dg.SensorResult(
            skip_reason=dg.SkipReason("; ".join(found) or "fresh again"), cursor=json.dumps(names)
        )

    return watch_freshness


def _stale_now(settings: Settings) -> list[str]:
    now = platform_now(settings)
    try:
        with open_published(settings.home) as con:
            found = stale(con, now)
            fallbacks = fallbacks_in_a_row(con)
    except WarehouseError as error:
        return [f"warehouse: {error}"]
    if fallbacks >= settings.alarm_after_fallbacks:
        found.append(f"fallbacks: the newest {fallbacks} forecasts are not the champion's")
    return found


def _freshness(settings: Settings, found: list[str]) -> Alarm:
    if not found:
        return Alarm("fresh_again", "all is well again", "nothing", f"home {settings.home}")
    return Alarm(
        kind="stale",
        text="; ".join(found),
        next_step="`co2 status`, then co2.data_quality, co2.retrain_ledger and the newest runs in"
        " Dagster's UI",
        where=f"home {settings.home}",
    )
