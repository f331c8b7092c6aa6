"""The tree expert: gradient boosted trees, one model for all leads, kept as plain arrays.

scikit-learn grows the trees (HistGradientBoostingRegressor, squared error); forecasting
walks the arrays itself, so that an artifact needs no pickle and a forecast no scikit-learn.
The target of each lead is divided by its standard deviation, or else the first hours, whose
changes are small, would teach nothing. What is missing is NaN, which trees take as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from co2_assets.errors import ModelError
from co2_assets.forecasting.base import newest_values
from co2_assets.forecasting.external import GROUP_OF, GROUPS
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.inputs import (
    Inputs,
    Reader,
    Rows,
    Single,
    TrainingSet,
    covariate_needs,
)
from co2_assets.forecasting.memory import return_freed_memory
from co2_assets.schema import EXTERNAL_COLUMNS, MISSION_LEADS

AT_A_TIME = 4096
"""Rows that walk through the trees together."""

Indices = NDArray[np.int32]


@dataclass(frozen=True)
class TreeConfig:
    """Hyperparameters of the expert."""

    members: int = 2
    """Forests of different seeds, whose forecasts are averaged."""
    rounds: int = 250
    learning_rate: float = 0.06
    leaves: int = 31
    fewest_in_leaf: int = 50
    feature_share: float = 0.5
    """Of the inputs, drawn anew for every split."""
    group_dropout: float = 0.1
    """Share of the examples that lack a group; and that lack all of them."""
    column_dropout: float = 0.03
    """Share of the examples that lack a column."""
    lags: int = 2
    """Hours of measured values that they read."""
    bins: int = 127
    near_leads: int = 2
    """Of the mission's leads, that a window teaches, drawn at random."""
    far_leads: int = 2
    """Of the later ones."""


@dataclass(frozen=True)
class Forest:
    """Regression trees, whose values add up, as arrays over all nodes.

    A row goes left at a node where its feature is at most the threshold, or is NaN and the
    node sends those left. A leaf is its own child, so that walking on changes nothing.

    Attributes:
        roots: the first node of each tree.
        feature: index of the column that a node asks for; 0 at a leaf.
        threshold: of the node.
        nan_left: whether what is missing goes left.
        left: node to the left.
        right: node to the right.
        value: of a leaf; 0 elsewhere.
        start: what is forecast before the first tree.
        depth: steps from a root to the farthest leaf.
    """

    roots: Indices
    feature: Indices
    threshold: Floats
    nan_left: NDArray[np.bool_]
    left: Indices
    right: Indices
    value: Floats
    start: float
    depth: int

    @classmethod
    def of(cls, model: Any) -> Forest:
        """The trees of a fitted HistGradientBoostingRegressor without categories."""
        trees = [iteration[0].nodes for iteration in model._predictors]
        sizes = [len(nodes) for nodes in trees]
        roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        nodes = np.concatenate(trees)
        if nodes["is_categorical"].any():
            raise ValueError("a forest has no categories")
        base = np.repeat(roots, sizes)
        itself = np.arange(len(nodes), dtype=np.int32)
        leaf = nodes["is_leaf"].astype(bool)
        return cls(
            roots=roots,
            feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
            threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
            nan_left=nodes["missing_go_to_left"].astype(bool) & ~leaf,
            left=np.where(leaf, itself, base + nodes["left"]).astype(np.int32),
            right=np.where(leaf, itself, base + nodes["right"]).astype(np.int32),
            value=np.where(leaf, nodes["value"], 0.0),
            start=float(np.ravel(model._baseline_prediction)[0]),
            depth=int(nodes["depth"].max()),
        )

    def predict(self, x: NDArray[np.floating[Any]]) -> Floats:
        """The sum of the trees, one value per row; columns as in training."""
        found = np.empty(len(x))
        for begin in range(0, len(x), AT_A_TIME):
            some = slice(begin, begin + AT_A_TIME)
            found[some] = self._walk(x[some])
        return found

    def _walk(self, x: NDArray[np.floating[Any]]) -> Floats:
        """All rows through all trees at once, a step at a time, until all are at leaves."""
        rows, trees = len(x), len(self.roots)
        flat = np.ascontiguousarray(x, dtype=np.float64).reshape(-1)
        node = np.tile(self.roots, rows)
        offset = np.repeat(np.arange(rows, dtype=np.int64) * x.shape[1], trees)
        on_the_way = np.arange(len(node))
        for _ in range(self.depth):
            at = node[on_the_way]
            asked = flat[offset[on_the_way] + self.feature[at]]
            goes_left = (asked <= self.threshold[at]) | (np.isnan(asked) & self.nan_left[at])
            after = np.where(goes_left, self.left[at], self.right[at])
            node[on_the_way] = after
            on_the_way = on_the_way[self.left[after] != after]
        return np.asarray(
            self.start + self.value[node].reshape(rows, trees).sum(axis=1), dtype=np.float64
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays, of which `from_arrays` makes it again."""
        return {one.name: np.asarray(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def from_arrays(cls, kept: dict[str, NDArray[Any]]) -> Forest:
        """From `to_arrays`."""
        arrays: dict[str, Any] = dict(kept)
        return cls(**arrays | {"start": float(kept["start"]), "depth": int(kept["depth"])})


@dataclass(frozen=True)
class Trees:
    """The expert, trained.

    Attributes:
        forests: of all leads; the lead is their last input. None forecast no change.
        lags: hours of measured values that they read.
    """

    forests: tuple[Forest, ...]
    lags: int

    def scaled_log_ratio(self, reader: Reader, inputs: Inputs) -> Floats:
        """Their forecast of the log ratio over the scale of its lead, shape (windows, horizon)."""
        if not self.forests:
            return np.zeros(inputs.published.shape)
        windows, horizon = len(inputs.rows), reader.horizon_hours
        everyone = np.arange(windows)
        # Few windows: all leads at once, since each walk through the trees has its price.
        together = horizon if windows < horizon else 1
        found = np.empty((horizon, windows))
        for first in range(0, horizon, together):
            leads = range(first, min(first + together, horizon))
            x = np.concatenate(
                [tree_inputs(reader, inputs, everyone, lead, self.lags) for lead in leads]
            )
            forecast = np.mean([forest.predict(x) for forest in self.forests], axis=0)
            found[first : first + together] = forecast.reshape(len(leads), windows)
        return found.T


def fit_forest(training: TrainingSet, config: TreeConfig, seed: int) -> Forest:
    """Grow one forest on a training range.

    Args:
        training: its windows.
        config: hyperparameters.
        seed: of the leads that each window teaches, and of the inputs of each split.

    Raises:
        ModelError: scikit-learn keeps its trees otherwise than is known here.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    x, y = _examples(training, config, np.random.default_rng(seed))
    model = HistGradientBoostingRegressor(
        max_iter=config.rounds,
        learning_rate=config.learning_rate,
        max_leaf_nodes=config.leaves,
        min_samples_leaf=config.fewest_in_leaf,
        max_features=config.feature_share,
        max_bins=config.bins,
        early_stopping=False,
        random_state=seed,
    )
    # One thread: sums come out the same on any machine, and others train beside it.
    with threadpool_limits(1, user_api="openmp"):
        model.fit(x, y)
        forest = Forest.of(model)
        _refuse_other(forest.predict(x[:AT_A_TIME]), model.predict(x[:AT_A_TIME]))
    del x, y
    return_freed_memory()
    return forest


def _refuse_other(found: Floats, expected: Floats) -> None:
    """The trees are read from where scikit-learn keeps them, which it may change one day."""
    difference = float(np.abs(found - expected).max(initial=0))
    if difference > 1e-9:
        raise ModelError(
            "the trees were not read as scikit-learn keeps them",
            found=f"forecasts that differ by {difference}",
            next_step="install the version of scikit-learn that is pinned in constraints.txt",
        )


def target_scale(training: TrainingSet) -> Floats:
    """Standard deviation of each lead's log ratio."""
    return np.asarray(training.target.std(axis=0), dtype=np.float64)


def _examples(
    training: TrainingSet, config: TreeConfig, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Some leads of each window, with their scaled targets.

    In double precision, as scikit-learn wants them, and each in its place at once: a copy
    of them all would be the peak of a training's memory.
    """
    reader, inputs, scale = training.reader, training.inputs, target_scale(training)
    chosen = _drawn(len(inputs.rows), reader.horizon_hours, config, random)
    ends = np.cumsum([len(rows) for rows in chosen])
    columns = tree_inputs(reader, inputs, chosen[0][:1], 0, config.lags).shape[1]
    x, y = np.empty((ends[-1], columns)), np.empty(ends[-1])
    for lead, (rows, end) in enumerate(zip(chosen, ends, strict=True)):
        place = slice(end - len(rows), end)
        away = _taken_away(len(rows), config, random)
        x[place] = tree_inputs(reader, inputs, rows, lead, config.lags, away)
        y[place] = training.target[rows, lead] / scale[lead]
    for column in x.T:  # no value at all can't be put in bins; a constant is never asked for
        if np.isnan(column).all():
            column[:] = 0.0
    return x, y


def _drawn(
    windows: int, horizon_hours: int, config: TreeConfig, random: np.random.Generator
) -> list[Rows]:
    """Windows that teach each lead: of each, some of the mission's leads and some later ones."""
    near = min(MISSION_LEADS, horizon_hours)
    chosen: list[Rows] = []
    for leads, many in ((near, config.near_leads), (horizon_hours - near, config.far_leads)):
        drawn = random.random((windows, leads)).argsort(axis=1)[:, :many]
        chosen += [np.flatnonzero((drawn == index).any(axis=1)) for index in range(leads)]
    return chosen


def _taken_away(count: int, config: TreeConfig, random: np.random.Generator) -> NDArray[np.bool_]:
    """Columns that examples have to do without, as members of the network do."""
    groups = (random.random((count, len(GROUPS))) < config.group_dropout)[:, GROUP_OF]
    every = random.random((count, 1)) < config.group_dropout
    single = random.random((count, len(EXTERNAL_COLUMNS))) < config.column_dropout
    return groups | every | single


def tree_inputs(
    reader: Reader,
    inputs: Inputs,
    chosen: Rows,
    lead: int,
    lags: int,
    away: NDArray[np.bool_] | None = None,
) -> Single:
    """One row per window: covariates of the lead, NaN where a column is absent, lags, the lead.

    Args:
        reader: of the inputs.
        inputs: what it read.
        chosen: indices of the windows.
        lead: index of the lead.
        lags: hours of measured values.
        away: columns that are absent besides, shape (chosen, external columns).
    """
    covariates = inputs.leads[chosen, lead]
    present = inputs.present[chosen, lead]
    if away is not None:
        present = present & ~away
    if reader.external and not present.all():
        needs = covariate_needs(reader.covariates)
        absent = (~present).astype(np.float32) @ needs.T.astype(np.float32) > 0
        covariates = np.where(absent, np.float32(np.nan), covariates)
    ahead = np.full((len(chosen), 1), lead, dtype=np.float32)
    values = newest_values(inputs.encoder[chosen], lags)
    return np.concatenate([covariates, values, ahead], axis=1)
