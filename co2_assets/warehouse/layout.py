"""Where the warehouse keeps its files under `CO2_HOME`.

state/head.duckdb           the writers' database, private
state/published.json        which generation is public, and up to which commit
state/writer.lock           flock: one writer at a time
state/runs.lock             flock, shared: runs with commits that are not public yet
gen/000123/co2.duckdb       published copies, read-only, the newest three
co2.duckdb                  symlink to the newest: the name that readers open
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PUBLISHED_NAME = "co2.duckdb"
"""Every published file has this name, so that its catalog is `co2` for every reader."""


@dataclass(frozen=True)
class Layout:
    """Paths of one home."""

    home: Path

    @property
    def state(self) -> Path:
        """Folder of the writers, mode 0700."""
        return self.home / "state"

    @property
    def head(self) -> Path:
        """The database that transactions are made in."""
        return self.state / "head.duckdb"

    @property
    def published_record(self) -> Path:
        """JSON: generation and commit of the public copy."""
        return self.state / "published.json"

    @property
    def writer_lock(self) -> Path:
        """Held while head is open."""
        return self.state / "writer.lock"

    @property
    def runs_lock(self) -> Path:
        """Held, shared, by each process whose commits are not public yet."""
        return self.state / "runs.lock"

    @property
    def generations(self) -> Path:
        """Folder of the published copies."""
        return self.home / "gen"

    def generation(self, number: int) -> Path:
        """Folder of one published copy."""
        return self.generations / f"{number:06d}"

    @property
    def public(self) -> Path:
        """Symlink to the newest published copy."""
        return self.home / PUBLISHED_NAME

    def create(self) -> None:
        """Make the folders that are missing."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.generations.mkdir(exist_ok=True)
