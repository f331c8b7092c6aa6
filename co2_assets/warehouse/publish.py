"""Publishing: a checkpointed copy of head under a new name, then one atomic swing.

Nothing that a reader may have open is ever written again; a reader holds the whole of
one generation, and the newest three stay on disk so that an opener that has just
resolved the symlink still finds its target.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from co2_assets.errors import WarehouseUnwritable
from co2_assets.warehouse.layout import PUBLISHED_NAME, Layout

GENERATIONS_KEPT = 3


class Published(NamedTuple):
    """What is public: the generation and the commit it goes up to."""

    generation: int
    commit_id: int


def read_published(layout: Layout) -> Published | None:
    """What is public now, or None before the first publication."""
    try:
        record = json.loads(layout.published_record.read_text())
        return Published(int(record["generation"]), int(record["commit_id"]))
    except (FileNotFoundError, ValueError, KeyError):
        # A damaged record costs one more publication, never a wrong answer.
        return None


def publish_copy(layout: Layout, commit_id: int) -> Published:
    """Copy head, which must be closed and checkpointed, and make the copy public.

    Raises:
        WarehouseUnwritable: the copy could not be written; what was public stays so.
    """
    # Never a number twice, even where somebody deleted a folder: readers know files by it.
    former = read_published(layout)
    taken = [int(path.name) for path in _generations(layout)]
    number = 1 + max(taken + [former.generation] if former else taken, default=0)
    draft = layout.generations / f".{number:06d}.tmp"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        copy = draft / PUBLISHED_NAME
        shutil.copyfile(layout.head, copy)
        copy.chmod(0o444)
        _fsync(copy)
        _fsync(draft)
        draft.rename(layout.generation(number))
        _fsync(layout.generations)
        _swing(layout, number)
        published = Published(number, commit_id)
        _replace_text(layout.published_record, json.dumps(published._asdict()))
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise WarehouseUnwritable(
            "the published copy could not be written",
            where=str(layout.generations),
            found=error.strerror or error,
            expected=f"{layout.head.stat().st_size} bytes free and a writable folder",
            next_step="free disk space; all commits are safe and the next run publishes them",
        ) from error
    _prune(layout, number)
    return published


def _swing(layout: Layout, number: int) -> None:
    link = layout.home / f".{PUBLISHED_NAME}.tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("gen") / f"{number:06d}" / PUBLISHED_NAME)
    link.replace(layout.public)
    _fsync(layout.home)


def _replace_text(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(text)
    _fsync(draft)
    draft.replace(path)


def _generations(layout: Layout) -> list[Path]:
    return sorted(path for path in layout.generations.iterdir() if path.name.isdigit())


def _prune(layout: Layout, newest: int) -> None:
    for path in layout.generations.iterdir():
        if path.name.isdigit() and int(path.name) > newest - GENERATIONS_KEPT:
            continue
        with suppress(OSError):  # a leftover costs space only; the next publication tries again
            shutil.rmtree(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
