"""The registry of model versions: immutable rows, append-only aliases."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from co2_assets.errors import ModelError
from co2_assets.schema import MODEL_ALIASES, MODEL_METRICS, MODEL_VERSIONS
from co2_assets.warehouse.query import Connection, frame, listed, row, rows, value
from co2_assets.warehouse.raw import polars_schema
from co2_assets.warehouse.store import Transaction

CHAMPION = "champion"
PREVIOUS = "previous"


@dataclass(frozen=True)
class ModelVersion:
    """What is needed to load a version and to judge whether it may forecast."""

    model_version: str
    recipe: str
    train_start_utc: datetime
    train_end_utc: datetime
    artifact_path: str
    artifact_sha256: str
    inputs_missing: tuple[str, ...]
    """External columns that its training had to do without."""


_LOADABLE = (
    "model_version, recipe, train_start_utc, train_end_utc, artifact_path, artifact_sha256,"
    " inputs_missing"
)


def champion_at(con: Connection, issue_time: datetime) -> ModelVersion | None:
    """The version that was champion at an issue time, or None."""
    return _aliased(con, CHAMPION, issue_time)


def previous_at(con: Connection, issue_time: datetime) -> ModelVersion | None:
    """The version that was champion before the one of an issue time, or None."""
    return _aliased(con, PREVIOUS, issue_time)


def replaced_since(con: Connection, since: datetime, until: datetime) -> ModelVersion | None:
    """The version that the champion of `until` replaced, if that was after `since`."""
    return _version(
        row(
            con,
            f"""
            SELECT {_LOADABLE} FROM ml.model_versions
            WHERE model_version = (
                SELECT former.model_version
                FROM ml.model_aliases AS champion
                JOIN ml.model_aliases AS former
                    ON former.alias = $previous
                    AND former.valid_from_utc = champion.valid_from_utc
                WHERE champion.alias = $champion AND champion.valid_from_utc > $since
                    AND champion.valid_from_utc <= $until
                ORDER BY champion.alias_number DESC, former.alias_number DESC LIMIT 1
            )
            """,
            previous=PREVIOUS,
            champion=CHAMPION,
            since=since,
            until=until,
        )
    )


def _aliased(con: Connection, alias: str, issue_time: datetime) -> ModelVersion | None:
    return _version(
        row(
            con,
            f"""
            SELECT {_LOADABLE} FROM ml.model_versions
            WHERE model_version = (
                SELECT model_version FROM ml.model_aliases
                WHERE alias = $alias AND valid_from_utc <= $issue_time
                ORDER BY alias_number DESC LIMIT 1
            )
            """,
            alias=alias,
            issue_time=issue_time,
        )
    )


def version_named(con: Connection, model_version: str) -> ModelVersion:
    """A trained version by its name.

    Raises:
        ModelError: there is none of that name; lists those there are.
    """
    found = _version(
        row(
            con,
            f"SELECT {_LOADABLE} FROM ml.model_versions"
            " WHERE model_version = $version AND artifact_path IS NOT NULL",
            version=model_version,
        )
    )
    if found is None:
        known = rows(
            con,
            "SELECT model_version FROM ml.model_versions WHERE artifact_path IS NOT NULL"
            " ORDER BY model_version",
        )
        raise ModelError(
            "no such trained model version",
            where="ml.model_versions",
            found=model_version,
            expected="one of "
            + (", ".join(name for (name,) in known) or "none yet: train one first"),
        )
    return found


def trained_by(con: Connection, issue_time: datetime) -> ModelVersion | None:
    """The newest version that passed the gate and was trained by an issue time: for hindcasts."""
    return _version(
        row(
            con,
            f"SELECT {_LOADABLE} FROM ml.model_versions"
            " WHERE train_end_utc <= $issue_time AND status IN ('promoted', 'outdated')"
            " ORDER BY train_end_utc DESC, model_version DESC LIMIT 1",
            issue_time=issue_time,
        )
    )


def was_trained(con: Connection) -> bool:
    """Whether any training has ended yet, promoted or not."""
    return bool(
        value(con, "SELECT count(*) FROM ml.model_versions WHERE artifact_path IS NOT NULL")
    )


def newest_champion(con: Connection) -> ModelVersion | None:
    """The version that is champion from the newest alias row on, or None."""
    return _version(
        row(
            con,
            f"SELECT {_LOADABLE} FROM ml.model_versions WHERE model_version ="
            " (SELECT model_version FROM main.champion)",
        )
    )


def _version(found: tuple[Any, ...] | None) -> ModelVersion | None:
    if found is None:
        return None
    *kept, missing = found
    return ModelVersion(*[*kept, listed(missing)])


def next_version(con: Connection) -> str:
    """The name of the next trained version: v0001, v0002, ..."""
    number = value(
        con,
        "SELECT coalesce(max(CAST(model_version[2:] AS INTEGER)), 0) + 1 FROM ml.model_versions"
        " WHERE regexp_full_match(model_version, 'v[0-9]+')",
    )
    return f"v{number:04d}"


def register(
    transaction: Transaction,
    version: dict[str, Any],
    metrics: Iterable[dict[str, Any]],
) -> None:
    """Add a version with its metrics.

    Args:
        transaction: where to.
        version: columns of `ml.model_versions`; `hyperparameters` and `features` as
            Python values.
        metrics: columns of `ml.model_metrics` but `model_version`.
    """
    entry = {
        **dict.fromkeys(polars_schema(MODEL_VERSIONS)),
        **version,
        "hyperparameters": json.dumps(version["hyperparameters"], sort_keys=True),
        "features": json.dumps(version["features"]),
    }
    transaction.upsert(
        MODEL_VERSIONS,
        pl.DataFrame([entry], schema=polars_schema(MODEL_VERSIONS)),
        keep_existing=True,
    )
    transaction.upsert(
        MODEL_METRICS,
        pl.DataFrame(
            [{"model_version": version["model_version"], **metric} for metric in metrics],
            schema=polars_schema(MODEL_METRICS),
        ),
        keep_existing=True,
    )


def promote(
    transaction: Transaction, model_version: str, *, valid_from: datetime, reason: str
) -> None:
    """Make a trained version champion from `valid_from` on; the former becomes previous.

    Raises:
        ModelError: there is no such trained version, or the newest promotion is valid from a
            later time: an old training must not displace it.
    """
    version_named(transaction.con, model_version)
    newest = newest_promotion(transaction.con)
    if newest is not None and newest > valid_from:
        raise ModelError(
            "an older promotion cannot displace a newer one",
            where="ml.model_aliases",
            found=f"{model_version} from {valid_from:%Y-%m-%dT%H:%M} UTC",
            expected=f"a time from {newest:%Y-%m-%dT%H:%M} UTC on",
            next_step="`co2 model list` shows the versions; `co2 model promote` takes one now",
        )
    former = newest_champion(transaction.con)
    if former and former.model_version != model_version:
        _append_alias(transaction, PREVIOUS, former.model_version, valid_from, reason)
    _append_alias(transaction, CHAMPION, model_version, valid_from, reason)


def newest_promotion(con: Connection) -> datetime | None:
    """From when on the newest champion is the champion, or None."""
    found: datetime | None = value(
        con,
        "SELECT max(valid_from_utc) FROM ml.model_aliases WHERE alias = $alias",
        alias=CHAMPION,
    )
    return found


def _append_alias(
    transaction: Transaction, alias: str, version: str, valid_from: datetime, reason: str
) -> None:
    number = value(
        transaction.con,
        "SELECT coalesce(max(alias_number), 0) + 1 FROM ml.model_aliases WHERE alias = $alias",
        alias=alias,
    )
    transaction.upsert(
        MODEL_ALIASES,
        pl.DataFrame(
            [(alias, number, version, valid_from, reason)],
            schema=polars_schema(MODEL_ALIASES),
            orient="row",
        ),
        keep_existing=True,
    )


class LastTraining(NamedTuple):
    """The newest training of a time, promoted or not."""

    end: datetime
    """End of the data that it used."""
    start: datetime
    inputs_missing: tuple[str, ...]
    """External columns that it had to do without."""


def last_training(con: Connection, until: datetime) -> LastTraining | None:
    """The newest training whose data ended by `until`, promoted or not."""
    found = row(
        con,
        "SELECT holdout_end_utc, train_start_utc, inputs_missing FROM ml.model_versions"
        " WHERE holdout_end_utc <= $until"
        " ORDER BY holdout_end_utc DESC, model_version DESC LIMIT 1",
        until=until,
    )
    if found is None:
        return None
    end, start, missing = found
    return LastTraining(end, start, listed(missing))


def metrics_of(con: Connection, model_version: str) -> pl.DataFrame:
    """Rows of `ml.model_metrics` of one version."""
    return frame(
        con,
        "SELECT scope, predictor, leads, metric, value FROM ml.model_metrics"
        " WHERE model_version = $version ORDER BY ALL",
        version=model_version,
    )
