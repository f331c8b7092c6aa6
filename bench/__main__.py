"""Run the benchmarks and write their results as JSON and as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import accuracy, speed
from bench.history import recorded_history

RESULTS = Path(__file__).parent / "results"
SHOWN = ("mae", "rmse", "bias", "mape", "wape", "crps", "coverage_80")


def main() -> None:
    """Measure, print, write."""
    history = recorded_history()
    figures = accuracy.measure(history, print)
    print("speed, median of seven runs:")
    timings = speed.measure(history, print)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "accuracy.json").write_text(json.dumps(figures, indent=1) + "\n")
    (RESULTS / "speed.json").write_text(json.dumps(timings, indent=1) + "\n")
    page = markdown(figures, timings)
    (RESULTS / "README.md").write_text(page)
    print(page)


def markdown(figures: list[dict[str, Any]], timings: list[dict[str, Any]]) -> str:
    """Both tables for a reader."""
    models = list(dict.fromkeys(row["model"] for row in figures))
    leads = [lead for lead in dict.fromkeys(row["lead"] for row in figures) if lead != "1-6"]
    value = {(row["model"], row["lead"], row["metric"]): row for row in figures}
    lines = [
        "# Results of `make bench`",
        "",
        f"Trained once on {accuracy.TRAIN_START:%Y-%m-%d} to {accuracy.TEST_START:%Y-%m-%d}, every"
        f" whole hour from then to {accuracy.TEST_END:%Y-%m-%d} an issue time"
        f" ({int(value[models[0], '1-6', 'n']['value'])} values a model), own inputs only, one"
        " seed. Data: Energinet (energidataservice.dk), CC BY 4.0; hourly means as recorded.",
        "",
        "MAE in g/kWh by lead, then pooled with its 90 % interval (weekly block bootstrap):",
        "",
        "| model | " + " | ".join(str(lead) for lead in leads) + " | 1-6 | interval |",
        "|---|" + "---|" * (len(leads) + 2),
    ]
    for model in models:
        pooled = value[model, "1-6", "mae"]
        cells = [f"{value[model, lead, 'mae']['value']:.2f}" for lead in leads]
        lines.append(
            f"| {model} | {' | '.join(cells)} | {pooled['value']:.2f}"
            f" | {pooled['low']:.2f} to {pooled['high']:.2f} |"
        )
    lines += [
        "",
        "Pooled over leads 1 to 6:",
        "",
        "| model | " + " | ".join(SHOWN) + " |",
        "|---|" + "---|" * len(SHOWN),
    ]
    for model in models:
        cells = [f"{value[model, '1-6', metric]['value']:.2f}" for metric in SHOWN]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    lines += ["", "| what | median, ms | fastest | slowest |", "|---|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['median']:.1f} | {row['low']:.1f} | {row['high']:.1f} |"
        for row in timings
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
