"""Load on the API while runs write: latency at a fixed rate, memory over many generations.

    python -m bench.api_load [--home HOME] [--seconds 60] [--rate 200] [--generations 1000]

`co2 api` runs as a process of its own on a copy of a recorded home; without `--home` one is
made first, which takes some minutes. Then:

1. Requests come at a fixed rate, whether or not earlier ones are answered (open loop), while
   `co2 replay` runs ticks in the same home. A latency counts from when the request was due.
2. A writer publishes generation after generation while requests go on, and the memory of the
   API is read.

Everything is on one machine: what the load generator and the replay take, the API lacks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from co2_assets.processes import free_port
from co2_assets.settings import Settings, load_settings
from co2_assets.warehouse.store import Warehouse

RESULTS = Path(__file__).parent / "results"
CO2 = Path(sys.executable).with_name("co2")

RANGE = {"CO2_FIRST_WINDOW": "2025-01-18T00:00Z", "CO2_LAST_WINDOW": "2025-01-31T18:00Z"}
FROM, UNTIL = "2025-01-18T00", "2025-01-18T18"
"""Of a new home: windows that are replayed before the load; the rest is replayed under it."""

CONNECTIONS = 16
QUIET_RATE = 40
"""Requests a second while generations are published: memory is what is looked at."""

MIX: tuple[tuple[int, tuple[str, ...]], ...] = (
    (20, ("/next-6h-predictions", "/next-6h-predictions?format=csv")),
    (15, ("/last-24h-emissions", "/last-24h-emissions?format=csv")),
    (10, ("/last-6h-predictions-vs-actual",)),
    (10, tuple(f"/forecasts?leads={leads}" for leads in (1, 3, 6, 12, 24))),
    (6, tuple(f"/forecasts?as_of=2025-01-18T{hour:02d}:30Z" for hour in range(7, 19))),
    (12, tuple(
        f"/greenest-window?duration={hours}&quantile={quantile}&contiguous={contiguous}"
        for hours in (1, 2, 3, 4) for quantile in (0.5, 0.75) for contiguous in ("true", "false")
    )),
    (5, ("/accuracy", "/accuracy?start=2025-01-18", "/accuracy?format=csv")),
    (4, tuple(f"/scoreboard?lead={lead}" for lead in (1, 3, 6))),
    (3, ("/best-model",)),
    (1, ("/models",)),
    (3, ("/retrain-ledger?limit=10",)),
    (2, ("/data-quality",)),
    (2, ("/window-receipts?limit=20",)),
    (2, tuple(f"/explain?valid_time=2025-01-18T{hour:02d}:00Z" for hour in (7, 12, 17))),
    (4, ("/health",)),
    (1, ("/metrics",)),
)  # fmt: skip
"""Weight in percent, and the addresses among which one is drawn."""


@dataclass
class Outcome:
    """What became of the requests of one phase."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    generations: set[str] = field(default_factory=set)

    def note(self, address: str, seconds: float, status: int, generation: str | None) -> None:
        """One answer."""
        self.latencies[address.partition("?")[0]].append(1000 * seconds)
        self.statuses[status] += 1
        if generation is not None:
            self.generations.add(generation)
        if status not in (200, 304):
            self.errors.append(f"{address}: status {status}")


async def load(port: int, rate: float, until: asyncio.Event, outcome: Outcome) -> None:
    """Ask at a fixed rate until told to stop; what is due then is still answered."""
    due: asyncio.Queue[tuple[float, str] | None] = asyncio.Queue()
    workers = [asyncio.create_task(_worker(port, due, outcome)) for _ in range(CONNECTIONS)]
    draw = random.Random(0)
    weights = [weight for weight, _ in MIX]
    started, number = time.perf_counter(), 0
    while not until.is_set():
        at = started + number / rate
        wait = at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        ((_, addresses),) = draw.choices(MIX, weights)
        due.put_nowait((at, draw.choice(addresses)))
        number += 1
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)


async def _worker(
    port: int, due: asyncio.Queue[tuple[float, str] | None], outcome: Outcome
) -> None:
    """One connection that is kept alive."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    tags: dict[str, str] = {}
    number = 0
    while (one := await due.get()) is not None:
        at, address = one
        number += 1
        # Every other client takes gzip, every fourth asks whether its answer still holds.
        lines = [f"GET {address} HTTP/1.1", "Host: bench"]
        lines += ["Accept-Encoding: gzip"] if number % 2 else []
        lines += [f"If-None-Match: {tags[address]}"] if not number % 4 and address in tags else []
        try:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *named = head.split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in named if line)
            await reader.readexactly(int(headers.get("content-length", 0)))
        except (OSError, asyncio.IncompleteReadError) as error:
            outcome.errors.append(f"{address}: {type(error).__name__}")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        if "etag" in headers:
            tags[address] = headers["etag"]
        seconds = time.perf_counter() - at
        outcome.note(address, seconds, int(status_line.split()[1]), headers.get("co2-generation"))
    writer.close()


@contextmanager
def api(home: Path) -> Iterator[tuple[int, psutil.Process]]:
    """`co2 api` on a free port, once it answers."""
    port = free_port()
    command = [str(CO2), "--home", str(home), "api", "--port", str(port)]
    environment = {**os.environ, "CO2_API_REQUESTS_PER_MINUTE": "0"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the API does not start") from None
                time.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def replaying(settings: Settings) -> subprocess.Popen[bytes]:
    """Ticks of all windows of a home that have not run, in a process of its own."""
    assert settings.first_window and settings.last_window
    command = [str(CO2), "--home", str(settings.home), "replay"]
    command += ["--from", f"{settings.first_window:%Y-%m-%dT%H}"]
    command += ["--to", f"{settings.last_window:%Y-%m-%dT%H}"]
    environment = {**os.environ, "CO2_RECORDED_PORT": str(free_port())}
    return subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def under_replay(
    port: int, process: psutil.Process, settings: Settings, rate: float, seconds: float
) -> dict[str, Any]:
    """The first phase: latency while a replay writes."""
    writer = replaying(settings)
    await asyncio.sleep(15)  # until it has loaded its recordings and runs ticks
    warm, stop = Outcome(), asyncio.Event()
    asyncio.get_running_loop().call_later(5, stop.set)
    await load(port, rate / 4, stop, warm)
    outcome, stop = Outcome(), asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    before = process.cpu_times()
    began = time.perf_counter()
    await load(port, rate, stop, outcome)
    took = time.perf_counter() - began
    after = process.cpu_times()
    wrote_all_the_time = writer.poll() is None
    os.killpg(writer.pid, signal.SIGTERM)
    writer.wait(30)
    return {
        "rate": rate,
        "seconds": took,
        "replay_ran_all_the_time": wrote_all_the_time,
        "generations_seen": len(outcome.generations),
        "api_cpu_percent": 100 * (after.user + after.system - before.user - before.system) / took,
        **_figures(outcome),
    }


async def under_publications(
    port: int, process: psutil.Process, home: Path, generations: int
) -> dict[str, Any]:
    """The second phase: memory while a writer publishes."""
    memory = [{"generation": 0, "rss_mb": process.memory_info().rss / 1e6}]
    writer = subprocess.Popen(
        [sys.executable, "-m", "bench.api_load", "--publish", str(generations), str(home)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert writer.stdout is not None
    outcome, stop = Outcome(), asyncio.Event()
    asking = asyncio.create_task(load(port, QUIET_RATE, stop, outcome))
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    while line := await loop.run_in_executor(None, writer.stdout.readline):
        if int(line) % 100 == 0:
            memory.append({"generation": int(line), "rss_mb": process.memory_info().rss / 1e6})
            print(f"  {int(line)} generations: {memory[-1]['rss_mb']:.0f} MB", flush=True)
    took = time.perf_counter() - began
    stop.set()
    await asking
    writer.wait(30)
    memory.append({"generation": generations, "rss_mb": process.memory_info().rss / 1e6})
    return {
        "generations": generations,
        "seconds": took,
        "generations_seen": len(outcome.generations),
        "memory": memory,
        **_figures(outcome),
    }


def publish(home: Path, generations: int) -> None:
    """The writer of the second phase: a small commit and a publication, again and again."""
    warehouse = Warehouse(home, lock_timeout_s=60)
    for number in range(1, generations + 1):
        with warehouse.write("bench", f"publication {number}") as tx:
            tx.execute(
                "UPDATE ml.retrain_decisions SET reason = $reason", reason=f"publication {number}"
            )
        warehouse.publish()
        print(number, flush=True)


def _figures(outcome: Outcome) -> dict[str, Any]:
    everything = [one for found in outcome.latencies.values() for one in found]
    routes = [
        {"route": "all", **_spread(everything)},
        *({"route": route, **_spread(found)} for route, found in sorted(outcome.latencies.items())),
    ]
    return {
        "n": len(everything),
        "errors": len(outcome.errors),
        "first_errors": outcome.errors[:5],
        "statuses": dict(outcome.statuses),
        "routes": routes,
    }


def _spread(found: list[float]) -> dict[str, float]:
    """Count and quantiles of latencies, ms."""
    cut = statistics.quantiles(found, n=100, method="inclusive") if len(found) > 1 else found * 99
    return {"n": len(found), "p50": cut[49], "p90": cut[89], "p99": cut[98], "max": max(found)}


def prepared(given: Path | None, folder: Path) -> Settings:
    """A recorded home with windows still to replay: a copy of the one given, or a new one."""
    home = folder / "home"
    if given is not None:
        shutil.copytree(given, home, symlinks=True)
    else:
        print("a new home: two years are loaded and a model is trained (minutes)", flush=True)
        environment = {**os.environ, "CO2_SOURCE": "recorded", **RANGE}
        environment["CO2_RECORDED_PORT"] = str(free_port())
        for verb in (("init",), ("replay", "--from", FROM, "--to", UNTIL)):
            subprocess.run([str(CO2), "--home", str(home), *verb], env=environment, check=True)
    return load_settings(home=home)


def machine() -> dict[str, Any]:
    """What it ran on, and what else the machine did just before."""
    return {
        "cpus": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "load_average_before": list(os.getloadavg()),
    }


def markdown(found: dict[str, Any]) -> str:
    """The results for a reader."""
    load_, memory = found["load"], found.get("memory")
    lines = [
        "# Load on the API while runs write",
        "",
        f"`make bench-api`, on {found['machine']['cpus']} CPUs, load average before:"
        f" {found['machine']['load_average_before'][0]:.1f}. Load generator, API and replay share"
        " the machine; a latency counts from when the request was due.",
        "",
        f"## {load_['rate']:.0f} requests a second for {load_['seconds']:.0f} s, while a replay"
        " runs ticks",
        "",
        f"{load_['n']} requests, **{load_['errors']} errors**, {load_['generations_seen']}"
        f" generations seen; the API took {load_['api_cpu_percent']:.0f} % of one CPU.",
        "",
        *_latencies(load_["routes"]),
    ]
    if memory:
        rss = [one["rss_mb"] for one in memory["memory"]]
        lines += [
            f"## {memory['generations']} generations published in {memory['seconds']:.0f} s",
            "",
            f"{memory['n']} requests meanwhile, **{memory['errors']} errors**,"
            f" {memory['generations_seen']} generations seen. Resident memory of the API, MB, at"
            " the start, after every 100 generations and at the end:",
            "",
            " ".join(f"{one:.0f}" for one in rss),
            "",
            *_latencies(memory["routes"][:1]),
        ]
    return "\n".join(lines)


def _latencies(routes: list[dict[str, Any]]) -> list[str]:
    return [
        "| route | n | p50 ms | p90 ms | p99 ms | max ms |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one['route']} | {one['n']} | {one['p50']:.1f} | {one['p90']:.1f}"
            f" | {one['p99']:.1f} | {one['max']:.1f} |"
            for one in routes
        ),
        "",
    ]


def main() -> None:
    """Prepare, load, publish, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="a recorded home with windows left to replay")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--generations", type=int, default=1000)
    parser.add_argument("--publish", nargs=2, metavar=("N", "HOME"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.publish:
        publish(Path(asked.publish[1]), int(asked.publish[0]))
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = prepared(asked.home, Path(folder))
        found: dict[str, Any] = {"machine": machine()}
        with api(settings.home) as (port, process):
            print(f"{asked.rate:.0f} requests a second for {asked.seconds:.0f} s", flush=True)
            found["load"] = asyncio.run(
                under_replay(port, process, settings, asked.rate, asked.seconds)
            )
            print("\n".join(_latencies(found["load"]["routes"])), flush=True)
            if asked.generations:
                print(f"{asked.generations} generations", flush=True)
                found["memory"] = asyncio.run(
                    under_publications(port, process, settings.home, asked.generations)
                )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "api.json").write_text(json.dumps(found, indent=1) + "\n")
    page = markdown(found)
    (RESULTS / "api.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
