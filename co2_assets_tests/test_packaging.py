"""The project installs anywhere, pinned, and its files for make, Docker and Dagster hold."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "co2_assets"
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
ASKED = [Requirement(text) for text in [*PROJECT["dependencies"], *sum(EXTRAS.values(), [])]]
PIN_LINES = [
    line
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
PINS = {canonicalize_name(line.split("==")[0]): line.split("==")[-1] for line in PIN_LINES}


OUTER_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
"""What `make test` leaves in the environment: a make of ours must not think it is its child."""


def outside_make(**variables: str) -> dict[str, str]:
    """The environment as it is where no make has started us, with more variables."""
    kept = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
    return {**kept, **variables}


def run(*command: str | Path, cwd: Path = REPOSITORY, **variables: str) -> str:
    """Standard output and error of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=outside_make(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    return done.stdout


# Pins


def test_a_pin_is_a_name_and_a_public_version() -> None:
    # No path, no URL, no editable line, no local version such as +cpu: PyPI has none of them.
    for line in PIN_LINES:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line
    assert len(PINS) == len(PIN_LINES)


def test_every_package_asked_for_is_pinned_within_its_limits() -> None:
    for asked in ASKED:
        pin = PINS.get(canonicalize_name(asked.name))
        assert pin is not None, f"{asked} is not in constraints.txt"
        assert asked.specifier.contains(pin), f"{asked} does not allow the pinned {pin}"


def test_every_package_that_those_need_is_pinned_as_installed() -> None:
    waiting, seen = list(ASKED), set[tuple[str, frozenset[str]]]()
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        if (name, frozenset(asked.extras)) in seen:
            continue
        seen.add((name, frozenset(asked.extras)))
        installed = importlib.metadata.distribution(name)
        assert Version(installed.version).public == PINS.get(name), name
        for text in installed.requires or []:
            needed = Requirement(text)
            extras = [*asked.extras, ""]
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(needed)


def test_the_pins_keep_the_limits_that_were_measured() -> None:
    assert PINS["torch"] == "2.13.0"
    assert Version(PINS["duckdb"]) < Version("2.1")
    assert Version(PINS["pandas"]) < Version("3")
    assert Version(PINS["sqlalchemy"]) < Version("2.1")
    assert Version(PINS["protobuf"]) < Version("7")


def test_every_import_of_the_package_is_asked_for() -> None:
    distributions = importlib.metadata.packages_distributions()
    asked = {
        canonicalize_name(Requirement(text).name)
        for text in [*PROJECT["dependencies"], *EXTRAS["serve"], *EXTRAS["bench"]]
    }
    unasked = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom) and node.module and not node.level
                else []
            )
            for top in {name.split(".")[0] for name in names} - {"co2_assets"}:
                if top in sys.stdlib_module_names:
                    continue
                if not {canonicalize_name(d) for d in distributions.get(top, [])} & asked:
                    unasked.add(f"{path.relative_to(REPOSITORY)}: {top}")
    assert not unasked


def test_every_file_of_the_package_is_in_its_wheel_data() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = declared["package-data"]["co2_assets"]
    shipped = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    present = {
        path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert present - shipped == set()


# Dagster's own files


def instance_of(text: str, folder: Path) -> dg.DagsterInstance:
    """A real instance whose dagster.yaml has the given text: Dagster validates every key."""
    (folder / "dagster.yaml").write_text(text)
    return dg.DagsterInstance.from_config(str(folder))


def test_dagster_accepts_every_key_of_dagster_yaml(tmp_path: Path) -> None:
    with instance_of((REPOSITORY / "dagster.yaml").read_text(), tmp_path) as instance:
        assert instance.telemetry_enabled is False
        assert instance.run_monitoring_enabled is True
        settings = instance.get_settings("concurrency")
        assert settings["runs"]["max_concurrent_runs"] == 1
        assert instance.get_settings("schedules")["use_threads"] is True
        assert instance.get_settings("sensors")["use_threads"] is True


def test_dagster_would_refuse_an_unknown_key(tmp_path: Path) -> None:
    text = (REPOSITORY / "dagster.yaml").read_text().replace("use_threads", "use_thread", 1)
    with pytest.raises(dg.DagsterInvalidConfigError, match="use_thread"):
        instance_of(text, tmp_path)


@pytest.mark.parametrize("name", ["dagster.yaml", "workspace.yaml"])
def test_dagster_files_hold_no_path(name: str) -> None:
    content = re.sub(r"#.*", "", (REPOSITORY / name).read_text())
    assert "/" not in content
    assert "working_directory" not in content


@pytest.mark.slow
def test_the_workspace_loads_from_any_current_directory(tmp_path: Path) -> None:
    said = run(
        Path(sys.executable).with_name("dagster"),
        *("definitions", "validate", "-w", REPOSITORY / "workspace.yaml"),
        cwd=tmp_path,
        CO2_HOME=str(tmp_path / "home"),
        DAGSTER_HOME=str(tmp_path),
    )
    assert "Validation successful for code location co2_assets" in said


# make


@pytest.fixture(scope="module")
def verbs() -> list[str]:
    lines = re.findall(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    return " ".join(lines).split()


def test_plain_make_explains_every_verb_and_variable(verbs: list[str]) -> None:
    explained = run("make")
    assert explained == run("make", "help")
    for verb in verbs:
        assert re.search(rf"^  {verb} +[A-Z]\w+", explained, re.MULTILINE), verb
    for variable in ("SERVE", "FRESH", "PORT", "API_PORT", "PYTHON", "TORCH_INDEX"):
        assert re.search(rf"^  {variable}=", explained, re.MULTILINE), variable


def test_the_verbs_of_the_habits_are_there(verbs: list[str]) -> None:
    expected = (
        "audit bench bench-api bench-decision bench-drift bench-gate bench-live check clean demo"
        " docs fmt help kills run setup soak test"
    )
    assert " ".join(sorted(verbs)) == expected


PORTS = "--port 3000 --api-port 8000 --dashboard-port 8501"


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ("run", f"co2 run {PORTS}"),
        ("run PORT=3100", f"co2 run {PORTS.replace('3000', '3100')}"),
        ("run API_PORT=0", f"co2 run {PORTS.replace('8000', '0')}"),
        ("demo", f"co2 demo {PORTS} --serve"),
        ("demo SERVE=0", f"co2 demo {PORTS} --no-serve"),
        ("demo FRESH=1 PORT=3100", f"co2 demo {PORTS.replace('3000', '3100')} --serve --fresh"),
        ("demo SERVE=0 FRESH=1", f"co2 demo {PORTS} --no-serve --fresh"),
    ],
)
def test_make_passes_its_variables_on(call: str, command: str) -> None:
    last = run("make", "-n", *call.split()).splitlines()[-1]
    assert last.split() == ["exec", *f".venv/bin/{command}".split()]


def test_setup_without_a_fit_python_says_what_to_do(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    done = subprocess.run(
        ["make", "setup", "PYTHON="],
        cwd=tmp_path,
        env=outside_make(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no Python 3.11 to 3.14 found" in done.stderr
    assert "make setup PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_setup_runs_again_only_when_the_pins_change(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    stamp = tmp_path / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    assert "pip install" not in run("make", "-n", "setup", cwd=tmp_path)
    os.utime(stamp, (0, 0))
    assert "pip install" in run("make", "-n", "setup", cwd=tmp_path)


# CI


def test_ci_runs_the_verbs_of_make(verbs: list[str]) -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    run("bash", "-n", script)
    called = re.findall(r"^make (\w+)", script.read_text(), re.MULTILINE)
    assert called == ["check", "test"]
    assert set(called) <= set(verbs)
    assert "export REQUIRE_BROWSER=1" in script.read_text()


# Docker


def dockerfile() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile: keyword and the rest, continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]  # type: ignore[misc]


def test_the_image_runs_as_an_ordinary_user_on_a_volume() -> None:
    instructions = dockerfile()
    assert [rest for word, rest in instructions if word == "USER"] == ["co2"]
    assert ("VOLUME", "/data") in instructions
    assert any(word == "HEALTHCHECK" for word, _ in instructions)
    environment = " ".join(rest for word, rest in instructions if word == "ENV")
    assert "CO2_HOME=/data " in environment
    assert "DAGSTER_HOME=/data/dagster" in environment


def test_the_build_context_has_what_the_dockerfile_copies_and_no_more() -> None:
    copied = {
        source.removeprefix("./")
        for word, rest in dockerfile()
        if word == "COPY"
        for source in rest.split()[:-1]
    }
    let_in = {
        line.removeprefix("!")
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == let_in


def test_compose_starts_all_services_on_loopback_only() -> None:
    services = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
    assert set(services) == {"init", "webserver", "daemon", "api", "dashboard"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    # The image's own health check asks the webserver; the others have their own.
    assert services["webserver"]["command"][0] == "dagster-webserver"
    assert services["daemon"]["healthcheck"]["test"][1:] == ["dagster-daemon", "liveness-check"]
    for name in ("webserver", "daemon"):
        assert services[name]["depends_on"]["init"]["condition"] == "service_completed_successfully"
        assert services[name]["volumes"] == ["data:/data"]
    for name in ("api", "dashboard"):
        assert services[name]["command"][:2] == ["co2", name]
        assert services[name]["volumes"] == ["data:/data:ro"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_images_own_steps_install_a_working_platform(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", venv)
    clean = {
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
        "VIRTUAL_ENV": str(venv),
        "TORCH_INDEX": "",
        "PIP_NO_COMPILE": "1",  # a third of the time, spent on modules that are not imported
        "HOME": os.environ["HOME"],
    }
    installs = 0
    for word, rest in dockerfile():
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy_to_context(REPOSITORY / source, app / target)
        elif word == "RUN" and "pip install" in rest:
            run("sh", "-ec", rest, cwd=app, **clean)
            installs += 1
    assert installs == 2

    python = venv / "bin" / "python"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run(
        python,
        *("-c", "import co2_assets, dagster, duckdb, torch; print(co2_assets.__file__)"),
        cwd=elsewhere,
        **clean,
    )
    assert Path(where.strip()).is_relative_to(venv)
    run(python, "-m", "pip", "check", cwd=elsewhere, **clean)
    assert "Usage: co2" in run(venv / "bin" / "co2", "--help", cwd=elsewhere, **clean)

    home = tmp_path / "data"
    settings = {"CO2_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    run(venv / "bin" / "co2", "init", cwd=elsewhere, **clean, **settings)
    assert (home / "co2.duckdb").exists()
    assert (home / "dagster" / "dagster.yaml").read_text() == (
        REPOSITORY / "dagster.yaml"
    ).read_text()
    for program in ("dagster-webserver", "dagster-daemon", "dagster"):
        run(venv / "bin" / program, "--version", cwd=elsewhere, **clean)


def copy_to_context(source: Path, target: Path) -> None:
    """Copy as Docker's COPY does: a folder's contents into the target, a file under it."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
