"""Processes that serve: started in groups of their own, watched, and ended with all they began."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

STOP_WITHIN_S = 20.0
LOOK_EVERY_S = 0.2

Process = subprocess.Popen[bytes]


class Service(NamedTuple):
    """One process that serves until it is told to stop.

    Attributes:
        name: what a person calls it.
        command: how it is started.
        environment: variables besides those of this process.
        log: where its output goes, appended.
        url: where it answers, or empty if nobody needs to know.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    url: str = ""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, for a server that is about to start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(service: Service) -> Process:
    """Start a service in a process group of its own."""
    service.log.parent.mkdir(parents=True, exist_ok=True)
    with service.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603, our own command
            service.command,
            env={**os.environ, **service.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell's `&` leaves SIGINT ignored, and dagster dev then ignores SIGTERM too.
            preexec_fn=_default_signals,
        )


def serve_until_stopped(
    main: Service, beside: Sequence[Service], say: Callable[[str], None]
) -> int | None:
    """Run services until Ctrl-C or SIGTERM; ends every process that they started.

    Args:
        main: ends the rest when it ends.
        beside: one that ends by itself is reported, and the others go on.
        say: told where each answers.

    Returns:
        None when it was told to stop; the exit code of `main` when that ended by itself.
    """
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: asked.append(received))
    with ExitStack() as stack:
        running = {}
        for service in (*beside, main):
            running[service.name] = process = start(service)
            stack.callback(stop_group, process)
            if service.url:
                say(f"{service.name}: {service.url}")
        say("Ctrl-C ends it")
        while running[main.name].poll() is None and not asked:
            for service in beside:
                if service.name in running and running[service.name].poll() is not None:
                    say(f"{service.name} ended by itself, the rest goes on; see {service.log}")
                    del running[service.name]
            time.sleep(LOOK_EVERY_S)
        return None if asked else running[main.name].returncode


def stop_group(process: Process) -> None:
    """End a process and everything that it started: asked first, then killed."""
    for number, patience in ((signal.SIGTERM, STOP_WITHIN_S), (signal.SIGKILL, 5.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            if number == signal.SIGTERM:
                _wait_for_group(process.pid)
                return


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_for_group(group: int) -> None:
    """Children outlive the leader for a moment; what does not end is killed."""
    deadline = time.monotonic() + STOP_WITHIN_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
