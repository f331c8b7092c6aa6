"""Run the benchmarks and write their results as JSON and as Markdown.

    python -m bench [accuracy] [speed]

Both by default. Speed wants the machine for itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench import accuracy, speed
from bench.accuracy import Accuracy
from co2_assets.replay.dataset import recorded_dataset

RESULTS = Path(__file__).parent / "results"
SHOWN = ("mae", "rmse", "bias", "mape", "wape", "r2", "crps", "coverage_50", "coverage_80",
         "coverage_90", "skill")  # fmt: skip


def main(asked: list[str]) -> None:
    """Measure, print, write: first the accuracy, then the speed."""
    unknown = set(asked) - {"accuracy", "speed"}
    if unknown:
        raise SystemExit(f"no such benchmark: {', '.join(sorted(unknown))}; accuracy or speed")
    dataset = recorded_dataset()
    RESULTS.mkdir(exist_ok=True)
    if not asked or "accuracy" in asked:
        print("accuracy (about twenty minutes on two cores):", flush=True)
        found = accuracy.measure(dataset, lambda line: print(line, flush=True))
        _write("accuracy.json", found.figures)
        _write("differences.json", found.differences)
        _write("by_hour.json", found.by_hour)
    if not asked or "speed" in asked:
        print("speed (about ten minutes):", flush=True)
        _write("speed.json", speed.measure(dataset, lambda line: print(line, flush=True)))
    page = markdown(
        Accuracy(_read("accuracy.json"), _read("differences.json"), _read("by_hour.json")),
        _read("speed.json"),
    )
    (RESULTS / "README.md").write_text(page)
    print(page)


def _read(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RESULTS / name).read_text())
    return found


def _write(name: str, rows: list[dict[str, Any]]) -> None:
    (RESULTS / name).write_text(json.dumps(rows, indent=1) + "\n")


def markdown(found: Accuracy, timings: list[dict[str, Any]]) -> str:
    """All tables for a reader."""
    value = {
        (row["model"], row["inputs"], row["leads"], row["metric"]): row for row in found.figures
    }
    models = list(dict.fromkeys((row["model"], row["inputs"]) for row in found.figures))
    n = int(value["persistence", "own", "1-24", "n"]["value"])
    return "\n".join(
        [
            "# Results of `make bench`",
            "",
            f"Trained on {accuracy.TRAIN_START:%Y-%m-%d} to {accuracy.TEST_START:%Y-%m-%d}; every"
            f" hour from then to {accuracy.TEST_END:%Y-%m-%d} is an issue time ({n} values a model"
            f" over 24 leads), {accuracy.SHAPE.members} seeds. Fitted once unless it says"
            " monthly. Trained models are calibrated by rolling conformal margins. Data:"
            " Energinet (energidataservice.dk), CC BY 4.0; hourly means as recorded.",
            "",
            *_by_lead(value, models),
            *_pooled(value, models),
            *_differences(found.differences),
            *_by_hour(found.by_hour),
            "## Speed",
            "",
            "| what | median | fastest | slowest | |",
            "|---|---|---|---|---|",
            *(
                f"| {row['what']} | {row['median']:.1f} | {row['low']:.1f} | {row['high']:.1f}"
                f" | {row['unit']} |"
                for row in timings
            ),
            "",
        ]
    )


def _by_lead(value: dict[Any, Any], models: list[tuple[str, str]]) -> list[str]:
    leads = [*range(1, 7), 9, 12, 15, 18, 21, 24]
    lines = [
        "## MAE, g/kWh",
        "",
        "By lead, then pooled with the 90 % interval of a weekly block bootstrap:",
        "",
        f"| model | inputs | {' | '.join(map(str, leads))} | 1-6 | interval | 1-24 | interval |",
        "|---|---|" + "---|" * (len(leads) + 4),
    ]
    for model, inputs in models:
        cells = [_cell(value, (model, inputs, str(lead), "mae")) for lead in leads]
        for pooled in ("1-6", "1-24"):
            cells.append(_cell(value, (model, inputs, pooled, "mae")))
            row = value.get((model, inputs, pooled, "mae"))
            cells.append(f"{row['low']:.2f} to {row['high']:.2f}" if row else "")
        lines.append(f"| {model} | {inputs} | {' | '.join(cells)} |")
    return [*lines, ""]


def _pooled(value: dict[Any, Any], models: list[tuple[str, str]]) -> list[str]:
    lines = []
    for pooled in ("1-6", "1-24"):
        lines += [
            f"## All figures, leads {pooled}",
            "",
            f"| model | inputs | {' | '.join(SHOWN)} |",
            "|---|---|" + "---|" * len(SHOWN),
        ]
        for model, inputs in models:
            cells = [_cell(value, (model, inputs, pooled, metric)) for metric in SHOWN]
            lines.append(f"| {model} | {inputs} | {' | '.join(cells)} |")
        lines.append("")
    coverage = [
        _cell(value, (accuracy.CHAMPION, "external", str(lead), "coverage_80"))
        for lead in range(1, 25)
    ]
    return [
        *lines,
        f"Share of actuals in the 80 % band of {accuracy.CHAMPION}, leads 1 to 24: "
        + " ".join(coverage),
        "",
    ]


def _differences(differences: list[dict[str, Any]]) -> list[str]:
    leads = ["1-6", "1-24", "1", "3", "6", "12", "24"]
    lines = [
        "## Paired differences",
        "",
        f"MAE of {accuracy.CHAMPION} less that of the other, g/kWh, on the values that both"
        " forecast, with its 90 % interval; negative: it is better. Energinet's prognosis as"
        " known at the issue time, raw and less its mean error of the day before.",
        "",
        f"| against | {' | '.join(f'leads {lead}' for lead in leads)} |",
        "|---|" + "---|" * len(leads),
    ]
    by = {(row["against"], row["leads"]): row for row in differences}
    for against in dict.fromkeys(row["against"] for row in differences):
        cells = []
        for lead in leads:
            row = by.get((against, lead))
            if row is None:
                cells.append("")
                continue
            cells.append(f"{row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})")
        lines.append(f"| {against} | {' | '.join(cells)} |")
    return [*lines, ""]


def _by_hour(rows: list[dict[str, Any]]) -> list[str]:
    hours, pooled = ("00", "06", "12", "18", "all"), ("1-6", "7-24", "1-24")
    by = {(r["model"], r["inputs"], r["hour_of_issue"], r["leads"]): r["mae"] for r in rows}
    lines = [
        "## Issue times of the platform, by hour of issue (UTC)",
        "",
        "MAE, g/kWh, of the six-hourly issue times among those above. Tomorrow's wind and sun are"
        " published at 18:00 Danish time, and prices at 13:00: the ticks of 06 and 12 cannot know"
        " them. `make bench-live` ([result](live.md)) shows that real ticks say the same.",
        "",
        "| model | inputs | "
        + " | ".join(f"{hour}, leads {leads}" for leads in pooled for hour in hours)
        + " |",
        "|---|---|" + "---|" * (len(hours) * len(pooled)),
    ]
    for model, inputs in dict.fromkeys((row["model"], row["inputs"]) for row in rows):
        cells = [by.get((model, inputs, hour, leads)) for leads in pooled for hour in hours]
        told = " | ".join("" if cell is None else f"{cell:.1f}" for cell in cells)
        lines.append(f"| {model} | {inputs} | {told} |")
    return [*lines, ""]


def _cell(value: dict[Any, Any], key: tuple[Any, ...]) -> str:
    row = value.get(key)
    return "" if row is None or row["value"] is None else f"{row['value']:.2f}"


if __name__ == "__main__":
    main(sys.argv[1:])
