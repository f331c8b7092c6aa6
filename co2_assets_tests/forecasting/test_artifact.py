"""A model comes back from its folder bit by bit, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from co2_assets.errors import ArtifactDamaged, ModelError
from co2_assets.forecasting.artifact import FILES, folder_hash, load, save
from co2_assets.forecasting.attention import AttentionForecaster
from co2_assets.forecasting.baselines import fit_persistence
from co2_assets.forecasting.predict import SeedForecaster
from co2_assets_tests.forecasting.small import HOUR, SPRING_END, SPRING_START

CARD = {"model_version": "v0001", "data": "Energinet"}


@pytest.fixture
def saved(tmp_path: Path, trained_seed: SeedForecaster) -> tuple[Path, str]:
    folder = tmp_path / "artifacts" / "v0001"
    return folder, save(trained_seed, folder, CARD)


def test_a_loaded_model_forecasts_bit_by_bit_the_same(
    tmp_path: Path,
    history: pl.DataFrame,
    external: pl.DataFrame,
    trained_seed: SeedForecaster,
    trained_attention: AttentionForecaster,
    trained_external: AttentionForecaster,
) -> None:
    issues = [SPRING_END + 7 * HOUR * step for step in range(30)]
    for model, horizon in ((trained_seed, 6), (trained_attention, 6), (trained_external, 8)):
        folder = tmp_path / model.name
        again = load(folder, save(model, folder, CARD))
        made = model.predict(history, issues, external)
        assert again.predict(history, issues, external).equals(made)
        assert (again.name, again.horizon_hours, again.lookback_hours) == (model.name, horizon, 24)


def test_the_folder_has_its_four_files_and_nothing_pickled(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    assert [path.name for path in folder.parent.iterdir()] == ["v0001"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for name in ("card.json", "config.json", "scaler.json"):
        assert json.loads((folder / name).read_text())
    assert load_file(folder / "weights.safetensors")
    assert json.loads((folder / "card.json").read_text()) == CARD


def test_the_same_model_has_the_same_hash_and_another_card_another(
    tmp_path: Path, trained_seed: SeedForecaster, saved: tuple[Path, str]
) -> None:
    _, sha256 = saved
    assert save(trained_seed, tmp_path / "again", CARD) == sha256
    assert save(trained_seed, tmp_path / "other", {**CARD, "seed": 2}) != sha256


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_any_file_is_noticed(name: str, saved: tuple[Path, str]) -> None:
    folder, sha256 = saved
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactDamaged, match=f"v0001; found: sha256 .*expected: sha256 {sha256}"):
        load(folder, sha256)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_noticed(name: str, saved: tuple[Path, str]) -> None:
    folder, sha256 = saved
    (folder / name).unlink()
    with pytest.raises(ArtifactDamaged, match=f"does not have its files.*expected: .*{name}"):
        load(folder, sha256)


def test_a_file_too_many_and_a_folder_too_few_are_noticed(saved: tuple[Path, str]) -> None:
    folder, sha256 = saved
    (folder / "model.pkl").write_bytes(b"")
    with pytest.raises(ArtifactDamaged, match=r"found: .*model\.pkl"):
        load(folder, sha256)
    with pytest.raises(ArtifactDamaged, match="found: nothing"):
        load(folder / "absent", sha256)


def test_two_files_that_swap_their_contents_are_noticed(saved: tuple[Path, str]) -> None:
    folder, sha256 = saved
    one, other = (folder / name for name in ("card.json", "config.json"))
    swapped = other.read_bytes(), one.read_bytes()
    one.write_bytes(swapped[0])
    other.write_bytes(swapped[1])
    assert folder_hash(folder) != sha256


def test_a_version_is_never_written_twice(
    saved: tuple[Path, str], trained_seed: SeedForecaster
) -> None:
    folder, sha256 = saved
    with pytest.raises(ModelError, match=r"never written twice.*v0001"):
        save(trained_seed, folder, {})
    assert folder_hash(folder) == sha256


def test_what_a_killed_save_left_behind_is_replaced(
    tmp_path: Path, trained_seed: SeedForecaster
) -> None:
    (tmp_path / ".v1.tmp").mkdir()
    (tmp_path / ".v1.tmp" / "half.json").write_text("{")
    sha256 = save(trained_seed, tmp_path / "v1", CARD)
    assert load(tmp_path / "v1", sha256).name == "seed"
    assert not (tmp_path / ".v1.tmp").exists()


def forget_a_weight(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    weights.pop("head.bias")
    save_file(weights, folder / "weights.safetensors")


def widen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["hyperparameters"]["hidden"] = 32
    (folder / "config.json").write_text(json.dumps(config))


def no_tensors(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"nothing of the kind")


@pytest.mark.parametrize("damage", [forget_a_weight, widen, no_tensors])
def test_weights_that_do_not_fit_are_refused_even_with_the_right_hash(
    damage: Callable[[Path], None], saved: tuple[Path, str]
) -> None:
    folder, _ = saved
    damage(folder)
    with pytest.raises(ArtifactDamaged, match=r"weights do not fit.*v0001"):
        load(folder, folder_hash(folder))


def test_a_recipe_from_the_future_is_named(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "recipe": "oracle"}))
    with pytest.raises(ModelError, match=r"found: oracle; expected: one of attention_.*, seed"):
        load(folder, folder_hash(folder))


def test_a_baseline_is_fitted_anew_and_has_no_artifact(
    tmp_path: Path, history: pl.DataFrame
) -> None:
    baseline = fit_persistence(history, SPRING_START, SPRING_END, 6)
    with pytest.raises(ModelError, match="has no artifact.*persistence"):
        save(baseline, tmp_path / "v1", CARD)
    assert list(tmp_path.iterdir()) == []
