"""What the README and docs/ say is there, and what is there is said."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import dagster as dg
import duckdb
import pytest
from click.testing import CliRunner

from co2_assets.cli import main
from co2_assets.orchestration.build import build_definitions
from co2_assets.schema import TABLES, VIEWS, View
from co2_assets.settings import ENV_PREFIX, Settings, load_settings, settings_table
from co2_assets.warehouse.document import SCHEMAS, warehouse_page
from co2_assets.warehouse.migrate import migrate
from co2_assets.warehouse.store import Warehouse

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = sorted([README, *(REPOSITORY / "docs").glob("*.md")])
TEXTS = {page: page.read_text() for page in PAGES}
EVERYTHING = "\n".join(TEXTS.values())
LARGEST_IMAGE_BYTES = 300_000


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, also those within a list."""
    return [
        re.sub(rf"(?m)^{indent}", "", text)
        for indent, text in re.findall(rf"(?ms)^( *)```{language}\n(.*?)^ *```", page.read_text())
    ]


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every line of a shell block that calls make or co2: its page and its words."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] in ("make", "co2", ".venv/bin/co2"):
                    yield page.name, words


COMMAND_LINES = list(command_lines())


# What is there is said


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_is_explained(name: str) -> None:
    assert re.search(rf"(?m)^\| `co2 {name}[ `]", TEXTS[REPOSITORY / "docs/operations.md"])


def test_the_table_of_settings_is_current() -> None:
    assert settings_table() in TEXTS[REPOSITORY / "docs/operations.md"], "run `make docs`"
    for name, field in Settings.model_fields.items():
        assert f"`{ENV_PREFIX}{name.upper()}`" in settings_table()
        assert field.description and field.description in settings_table()


def test_no_setting_is_explained_that_is_not_there() -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"\b{ENV_PREFIX}[A-Z_]*[A-Z]\b", EVERYTHING)) <= known


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(load_settings(home=tmp_path_factory.mktemp("docs") / "home"))


def test_every_asset_job_schedule_sensor_and_check_is_named(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    repository = definitions.get_repository_def()
    names = {
        *(key.to_user_string() for key in graph.get_all_asset_keys()),
        *(key.name for key in graph.asset_check_keys),
        *(job for job in repository.job_names if not job.startswith("__")),
        *(schedule.name for schedule in repository.schedule_defs),
        *(sensor.name for sensor in repository.sensor_defs),
    }
    assert len(names) > 20
    said = TEXTS[REPOSITORY / "docs/architecture.md"]
    assert sorted(name for name in names if f"`{name}`" not in said) == []


# docs/warehouse.md


def test_the_page_of_the_warehouse_is_current() -> None:
    assert TEXTS[REPOSITORY / "docs/warehouse.md"] == warehouse_page(), "run `make docs`"


def test_every_table_and_view_has_a_heading_and_every_column_a_row() -> None:
    page = warehouse_page()
    assert {table.schema for table in TABLES} == set(SCHEMAS)
    for name, columns in [
        *((table.qualified_name, table.columns) for table in TABLES),
        *((view.name, view.columns) for view in VIEWS),
    ]:
        section = page.split(f"\n### {name}\n")[1].split("\n### ")[0]
        for column in columns:
            assert f"| `{column.name}` | {column.sql_type} |" in section
            assert column.meaning in section


def test_co2_docs_writes_the_generated_parts_and_tells_stale_ones(tmp_path: Path) -> None:
    runner = CliRunner()
    operations = tmp_path / "operations.md"
    operations.write_text("kept\n<!-- settings: begin -->\nold\n<!-- settings: end -->\nkept too\n")
    stale = runner.invoke(main, ["docs", "--check", str(tmp_path)])
    assert stale.exit_code == 2
    assert "run `make docs`" in stale.output
    assert runner.invoke(main, ["docs", str(tmp_path)]).exit_code == 0
    assert runner.invoke(main, ["docs", "--check", str(tmp_path)]).exit_code == 0
    text = operations.read_text()
    assert settings_table() in text
    assert text.startswith("kept\n") and text.endswith("\nkept too\n")
    (tmp_path / "warehouse.md").write_text("old")
    assert runner.invoke(main, ["docs", "--check", str(tmp_path)]).exit_code == 2


@pytest.fixture(scope="module")
def migrated() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    migrate(con, lambda: datetime.now(UTC))
    yield con
    con.close()


def test_the_views_that_are_declared_are_those_that_exist(
    migrated: duckdb.DuckDBPyConnection,
) -> None:
    found = migrated.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"
    ).fetchall()
    assert sorted(name for (name,) in found) == sorted(view.name for view in VIEWS)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_view_has_exactly_the_declared_columns(
    migrated: duckdb.DuckDBPyConnection, view: View
) -> None:
    found = migrated.execute(f"DESCRIBE main.{view.name}").fetchall()
    spelling = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}
    assert [(row[0], spelling.get(row[1], row[1])) for row in found] == [
        (column.name, column.sql_type) for column in view.columns
    ]


# What is said is there


def test_there_are_command_lines_to_check() -> None:
    assert {words[0] for _, words in COMMAND_LINES} == {"make", "co2", ".venv/bin/co2"}
    assert len(COMMAND_LINES) > 10


@pytest.mark.parametrize(
    "words", [words for _, words in COMMAND_LINES if words[0] == "make"], ids=shlex.join
)
def test_a_make_line_names_verbs_and_variables_that_exist(words: list[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for word in words[1:]:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{name} \?=" if is_variable else rf"^{name}:.*## "
        assert re.search(pattern, makefile, re.MULTILINE), word


@pytest.mark.parametrize(
    "words", [words for _, words in COMMAND_LINES if words[0] != "make"], ids=shlex.join
)
def test_a_co2_line_names_a_command_and_options_that_exist(words: list[str]) -> None:
    with main.make_context("co2", words[1:]) as ctx:
        name, command, arguments = main.resolve_command(ctx, ctx._protected_args + ctx.args)
        assert command is not None
        command.make_context(name, arguments, parent=ctx).close()


def test_a_wrong_option_would_be_noticed() -> None:
    with (
        pytest.raises(click.NoSuchOption),
        main.make_context("co2", ["tick", "--hour", "6"]) as ctx,
    ):
        name, command, arguments = main.resolve_command(ctx, ctx._protected_args + ctx.args)
        assert command is not None
        command.make_context(name, arguments, parent=ctx)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`make ([a-z]+)", EVERYTHING))))
def test_a_verb_named_in_a_sentence_exists(name: str) -> None:
    assert re.search(rf"(?m)^{name}:.*## ", (REPOSITORY / "Makefile").read_text())


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`co2 ([a-z][a-z-]+)", EVERYTHING))))
def test_a_command_named_in_a_sentence_exists(name: str) -> None:
    assert name in main.commands


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published copy of a warehouse that holds nothing yet."""
    warehouse = Warehouse(tmp_path_factory.mktemp("published"))
    warehouse.publish()
    return warehouse.layout.public


QUERIES = [
    *(
        statement
        for page in PAGES
        for block in blocks(page, "sql")
        for statement in block.split(";")
        if statement.strip()
    ),
    *(
        words[-1]
        for _, words in COMMAND_LINES
        if "sql" in words and words[-1].startswith(("SELECT", "FROM"))
    ),
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_docs_runs(published: Path, query: str) -> None:
    with duckdb.connect(str(published.resolve()), read_only=True) as con:
        con.execute(query).fetchall()


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_the_python_of_the_readme_runs(published: Path, code: str) -> None:
    found: dict[str, object] = {}
    exec(code.replace(".demo/co2.duckdb", str(published)), found)  # our own text
    assert found["hours"].columns == ["hour_utc", "co2_g_per_kwh"]  # type: ignore[attr-defined]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as renderers make them."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\(([^)]+)\)", TEXTS[page])
    if not link.startswith("http")
]


@pytest.mark.parametrize(
    ("page", "link"), LINKS, ids=[f"{page.name}-{link}" for page, link in LINKS]
)
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    target, _, anchor = link.partition("#")
    file = (page.parent / target).resolve() if target else page
    assert file.is_file()
    if anchor:
        assert anchor in anchors(file)


@pytest.mark.parametrize("name", ["lineage.png", "evaluations.png"])
def test_the_readme_shows_a_picture_that_is_not_too_large(name: str) -> None:
    assert f"](docs/images/{name})" in TEXTS[README]
    picture = (REPOSITORY / "docs" / "images" / name).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < LARGEST_IMAGE_BYTES


def test_the_figures_are_those_of_the_committed_benchmark() -> None:
    section = TEXTS[README].split("\n## Measured\n")[1].split("\n## ")[0]
    for said in ("make bench", "2024-07-01", "2025-01-31", "ml.forecast_evaluations"):
        assert said in section
    measured = {
        (row["model"], row["inputs"], row["leads"]): row["value"]
        for row in json.loads((REPOSITORY / "bench/results/accuracy.json").read_text())
        if row["metric"] == "mae"
    }
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    named = {
        "this platform, `attention_lstm`": ("attention_lstm", "external"),
        "`log_ridge`: its regressions alone": ("log_ridge", "external"),
        "`lightgbm`, six leads": ("lightgbm", "external"),
        "this platform without inputs from elsewhere, six leads": ("attention_lstm", "own"),
        "damped climatology": ("climatology", "own"),
        "persistence": ("persistence", "own"),
        "Energinet's own prognosis": ("energinet", "external"),
        "the same less its error of the day before": ("energinet_recalibrated", "external"),
    }
    assert [row[0] for row in rows] == list(named)
    for name, *cells in rows:
        for lead, cell in zip(head[1:], cells, strict=True):
            figure = measured.get((*named[name], lead.replace(" to ", "-")))
            assert cell == ("" if figure is None else f"{figure:.1f}"), (name, lead)


def test_the_picture_of_the_lineage_is_true(definitions: dg.Definitions) -> None:
    """Each asset of the README's drawing is one, and none is left out."""
    drawn = TEXTS[README].split("```text\n")[1].split("```")[0]
    for key in definitions.resolve_asset_graph().get_all_asset_keys():
        assert key.path[-1] in drawn
    assert "retrain_on_drift" in drawn


def test_the_limits_are_said() -> None:
    section = TEXTS[README].split("\n## Limits\n")[1].split("\n## ")[0]
    for said in ("hourly means", "is done without", "answer this machine", "`DK`"):
        assert said in section


def test_the_licences_are_said() -> None:
    section = TEXTS[README].split("\n## Data and licence\n")[1].split("\n## ")[0]
    for said in ("Energinet", "CC BY 4.0", "MIT"):
        assert said in section
