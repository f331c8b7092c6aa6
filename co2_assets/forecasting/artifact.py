"""A trained model as a folder: JSON and safetensors, verified by its hash, no pickle.

config.json           recipe, hyperparameters, error quantiles
scaler.json           lowest and highest values of the training range
weights.safetensors   the network
card.json             the model card: what it is, what it was trained on, how it did
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from co2_assets.errors import ArtifactDamaged, ModelError
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.model import AttentionLSTM
from co2_assets.forecasting.predict import SeedForecaster
from co2_assets.forecasting.scaling import MinMax

CONFIG, SCALER, WEIGHTS, CARD = "config.json", "scaler.json", "weights.safetensors", "card.json"
FILES = (CARD, CONFIG, SCALER, WEIGHTS)


def save(forecaster: Forecaster, folder: Path, card: dict[str, Any]) -> str:
    """Write the folder under a temporary name and rename it; returns its hash.

    Raises:
        ModelError: the folder exists (versions are immutable), or the recipe is unknown.
    """
    if folder.exists():
        raise ModelError("a model version is never written twice", where=str(folder))
    if not isinstance(forecaster, SeedForecaster):
        raise ModelError(
            "this recipe has no artifact", where=forecaster.name, expected="a trained recipe"
        )
    draft = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    _write_json(
        draft / CONFIG,
        {
            "recipe": forecaster.name,
            "epochs": forecaster.epochs,
            "hyperparameters": forecaster.config,
            "inputs": len(forecaster.scaler_x.low),
            "error_quantiles": forecaster.error_quantiles.tolist(),
        },
    )
    _write_json(
        draft / SCALER,
        {"inputs": forecaster.scaler_x.to_json(), "target": forecaster.scaler_y.to_json()},
    )
    _write_json(draft / CARD, card)
    weights = {
        name: weight.contiguous() for name, weight in forecaster.network.state_dict().items()
    }
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
    if config["recipe"] != "seed":
        raise ModelError(
            "a model of a recipe that this version does not know",
            where=str(folder),
            found=config["recipe"],
            expected="seed",
        )
    settings = config["hyperparameters"]
    network = AttentionLSTM(
        inputs=config["inputs"],
        hidden=settings["hidden"],
        layers=settings["layers"],
        horizon=settings["horizon_hours"],
        dropout=settings["dropout"],
    )
    try:
        network.load_state_dict(load_tensors((folder / WEIGHTS).read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise ArtifactDamaged(
            "a model's weights do not fit its configuration",
            where=str(folder / WEIGHTS),
            found=str(error).splitlines()[0],
        ) from error
    network.eval()
    return SeedForecaster(
        config=settings,
        epochs=config["epochs"],
        network=network,
        scaler_x=MinMax.from_json(scaler["inputs"]),
        scaler_y=MinMax.from_json(scaler["target"]),
        error_quantiles=np.array(config["error_quantiles"]),
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
