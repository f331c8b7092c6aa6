"""A trained model as a folder: JSON and safetensors, verified by its hash, no pickle.

config.json           recipe, hyperparameters, error quantiles
scaler.json           scalers of the training range
weights.safetensors   networks, forests, and what online regressions have learned
card.json             the model card: what it is, what it was trained on, how it did
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from co2_assets.errors import ArtifactDamaged, ModelError
from co2_assets.forecasting.artifact_upgrade import FORMAT, Parts, upgraded
from co2_assets.forecasting.attention import AttentionConfig, AttentionForecaster, new_network
from co2_assets.forecasting.base import Base, Part, Terms, base_design
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.inputs import Reader
from co2_assets.forecasting.lightgbm import LightGbmForecaster
from co2_assets.forecasting.log_ridge import LogRidgeForecaster
from co2_assets.forecasting.online import OnlineRidge
from co2_assets.forecasting.predict import SeedForecaster, new_seed_network
from co2_assets.forecasting.scaling import MinMax
from co2_assets.forecasting.trees import Forest, Trees
from co2_assets.schema import EXTERNAL_COLUMNS, QUANTILES

CONFIG, SCALER, WEIGHTS, CARD = "config.json", "scaler.json", "weights.safetensors", "card.json"
FILES = (CARD, CONFIG, SCALER, WEIGHTS)


def save(forecaster: Forecaster, folder: Path, card: dict[str, Any]) -> str:
    """Write the folder under a temporary name and rename it; returns its hash.

    Raises:
        ModelError: the folder exists (versions are immutable), or the recipe is unknown.
    """
    if folder.exists():
        raise ModelError("a model version is never written twice", where=str(folder))
    parts = _parts(forecaster)
    draft = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    _write_json(draft / CONFIG, {"recipe": forecaster.name, "format": FORMAT, **parts.config})
    _write_json(draft / SCALER, parts.scaler)
    _write_json(draft / CARD, card)
    weights = {name: weight.contiguous() for name, weight in parts.weights.items()}
    (draft / WEIGHTS).write_bytes(save_tensors(weights))
    sha256 = folder_hash(draft)
    draft.rename(folder)
    return sha256


def folder_hash(folder: Path) -> str:
    """Hash over the names and contents of the folder's files.

    Raises:
        ArtifactDamaged: a file is missing or one too many is there.
    """
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if found != sorted(FILES):
        raise ArtifactDamaged(
            "a model's folder does not have its files",
            where=str(folder),
            found=", ".join(found) or "nothing",
            expected=", ".join(FILES),
            next_step="restore the folder from a backup, or train a new version",
        )
    digest = hashlib.sha256()
    for name in sorted(FILES):
        digest.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def load(folder: Path, expected_sha256: str) -> Forecaster:
    """The forecaster of a folder, after its hash has been verified.

    Raises:
        ArtifactDamaged: the files are not those that were registered.
        ModelError: a recipe that this version does not know.
    """
    found = folder_hash(folder)
    if found != expected_sha256:
        raise ArtifactDamaged(
            "a model's files are not those that were registered",
            where=str(folder),
            found=f"sha256 {found}",
            expected=f"sha256 {expected_sha256}",
            next_step="restore the folder from a backup, or train a new version",
        )
    config = json.loads((folder / CONFIG).read_text())
    scaler = json.loads((folder / SCALER).read_text())
    recipe = config.pop("recipe")
    if recipe not in _LOADERS:
        raise ModelError(
            "a model of a recipe that this version does not know",
            where=str(folder),
            found=recipe,
            expected="one of " + ", ".join(sorted(_LOADERS)),
        )
    try:
        weights = load_tensors((folder / WEIGHTS).read_bytes())
        return _LOADERS[recipe](upgraded(recipe, Parts(config, scaler, weights)))
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactDamaged(
            "a model's weights do not fit its configuration",
            where=str(folder),
            found=str(error).splitlines()[0],
        ) from error


def _parts(forecaster: Forecaster) -> Parts:
    if isinstance(forecaster, SeedForecaster):
        return Parts(
            config={
                "epochs": forecaster.epochs,
                "hyperparameters": forecaster.config,
                "error_quantiles": forecaster.error_quantiles.tolist(),
            },
            scaler={
                "inputs": forecaster.scaler_x.to_json(),
                "target": forecaster.scaler_y.to_json(),
            },
            weights=dict(forecaster.network.state_dict()),
        )
    if isinstance(forecaster, AttentionForecaster):
        return Parts(
            config={
                "hyperparameters": forecaster.config.to_json(),
                "base": _base_config(forecaster.base),
            },
            scaler=forecaster.reader.to_json() | {"target": forecaster.target_scale.tolist()},
            weights=_base_weights(forecaster.base)
            | _tree_weights(forecaster.trees)
            | {
                f"member_{index}.{name}": weight
                for index, network in enumerate(forecaster.networks)
                for name, weight in network.state_dict().items()
            },
        )
    if isinstance(forecaster, LogRidgeForecaster):
        return Parts(
            config={
                "base": _base_config(forecaster.base),
                "error_quantiles": forecaster.error_quantiles.tolist(),
            },
            scaler=forecaster.reader.to_json(),
            weights=_base_weights(forecaster.base),
        )
    if isinstance(forecaster, LightGbmForecaster):
        return Parts(
            config={
                "members": len(forecaster.boosters),
                "lags": forecaster.lags,
            },
            scaler=forecaster.reader.to_json(),
            weights={
                f"member_{member}.lead_{lead}.level_{level}": _text(booster)
                for member, leads in enumerate(forecaster.boosters)
                for lead, levels in enumerate(leads)
                for level, booster in enumerate(levels)
            },
        )
    raise ModelError(
        "this recipe has no artifact", where=forecaster.name, expected="a trained recipe"
    )


def _load_seed(parts: Parts) -> Forecaster:
    scaler_x = MinMax.from_json(parts.scaler["inputs"])
    return SeedForecaster(
        config=parts.config["hyperparameters"],
        epochs=parts.config["epochs"],
        network=_filled(
            new_seed_network(parts.config["hyperparameters"], inputs=len(scaler_x.low)),
            parts.weights,
        ),
        scaler_x=scaler_x,
        scaler_y=MinMax.from_json(parts.scaler["target"]),
        error_quantiles=np.array(parts.config["error_quantiles"]),
    )


def _load_attention(parts: Parts) -> Forecaster:
    config = AttentionConfig.from_json(parts.config["hyperparameters"])
    reader = Reader.from_json(parts.scaler)
    return AttentionForecaster(
        config=config,
        reader=reader,
        base=_load_base(parts, reader),
        trees=_load_trees(parts.weights, config),
        target_scale=np.array(parts.scaler["target"]),
        networks=tuple(
            _filled(new_network(config, len(reader.covariates)), _member(parts.weights, index))
            for index in range(config.members)
        ),
    )


def _load_log_ridge(parts: Parts) -> Forecaster:
    reader = Reader.from_json(parts.scaler)
    return LogRidgeForecaster(
        reader=reader,
        base=_load_base(parts, reader),
        error_quantiles=np.array(parts.config["error_quantiles"]),
    )


def _load_lightgbm(parts: Parts) -> Forecaster:
    reader = Reader.from_json(parts.scaler)
    return LightGbmForecaster(
        reader=reader,
        boosters=tuple(
            tuple(
                tuple(
                    parts.weights[f"member_{member}.lead_{lead}.level_{level}"]
                    .numpy()
                    .tobytes()
                    .decode()
                    for level in range(len(QUANTILES))
                )
                for lead in range(reader.horizon_hours)
            )
            for member in range(parts.config["members"])
        ),
        lags=parts.config["lags"],
    )


def _base_config(base: Base) -> dict[str, Any]:
    return {
        "alpha": base.alpha,
        "mean_co2": base.mean_co2,
        "columns": [
            name for name, read in zip(EXTERNAL_COLUMNS, base.columns, strict=True) if read
        ],
        "parts": [
            {
                **part.terms._asdict(),
                "hours": part.hours,
                "first_lead": part.state.first_lead,
                "day": part.state.day,
                "half_life_days": part.state.half_life_days,
            }
            for part in base.parts
        ],
    }


def _base_weights(base: Base) -> dict[str, Tensor]:
    """The sums of the regressions; of the symmetric ones, the upper half."""
    weights: dict[str, Tensor] = {}
    for index, part in enumerate(base.parts):
        upper = np.triu_indices(part.state.gram.shape[1])
        weights |= {
            f"base_{index}.gram_upper": torch.from_numpy(part.state.gram[:, *upper].copy()),
            f"base_{index}.moment": torch.from_numpy(part.state.moment.copy()),
        }
    return weights


def _load_base(parts: Parts, reader: Reader) -> Base:
    kept = parts.config["base"]
    return Base(
        tuple(
            _load_part(one, _member(parts.weights, index, "base"), reader)
            for index, one in enumerate(kept["parts"])
        ),
        alpha=kept["alpha"],
        columns=np.array([name in kept["columns"] for name in EXTERNAL_COLUMNS]),
        mean_co2=kept["mean_co2"],
    )


def _load_part(kept: dict[str, Any], weights: dict[str, Tensor], reader: Reader) -> Part:
    terms = Terms.from_json(kept)
    moment = weights["moment"].numpy()
    leads, size = moment.shape
    expected = base_design(reader.covariates, terms).columns + 1
    if size != expected:
        raise ModelError(
            "a model's regression was taught other inputs than this version makes",
            where="weights.safetensors",
            found=f"{size} columns",
            expected=f"{expected} columns",
            next_step="train a new version",
        )
    first, second = np.triu_indices(size)
    gram = np.zeros((leads, size, size))
    gram[:, first, second] = weights["gram_upper"].numpy()
    gram[:, second, first] = gram[:, first, second]
    state = OnlineRidge(kept["day"], gram, moment, kept["half_life_days"], kept["first_lead"])
    return Part(state, terms, kept["hours"])


def _tree_weights(trees: Trees) -> dict[str, Tensor]:
    return {
        f"forest_{index}.{name}": torch.from_numpy(np.array(values))
        for index, forest in enumerate(trees.forests)
        for name, values in forest.to_arrays().items()
    }


def _load_trees(weights: dict[str, Tensor], config: AttentionConfig) -> Trees:
    forests = (
        {name: kept.numpy() for name, kept in _member(weights, index, "forest").items()}
        for index in range(config.trees.members)
    )
    return Trees(tuple(map(Forest.from_arrays, forests)), config.trees.lags)


def _text(booster: str) -> Tensor:
    return torch.frombuffer(bytearray(booster.encode()), dtype=torch.uint8)


_LOADERS: dict[str, Callable[[Parts], Forecaster]] = {
    "attention_lstm": _load_attention,
    "attention_lstm_own": _load_attention,
    "lightgbm": _load_lightgbm,
    "lightgbm_own": _load_lightgbm,
    "log_ridge": _load_log_ridge,
    "log_ridge_own": _load_log_ridge,
    "seed": _load_seed,
}


def _member(weights: dict[str, Tensor], index: int, of: str = "member") -> dict[str, Tensor]:
    prefix = f"{of}_{index}."
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }


_Network = TypeVar("_Network", bound=nn.Module)


def _filled(network: _Network, weights: dict[str, Tensor]) -> _Network:
    network.load_state_dict(weights)
    network.eval()
    return network


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
