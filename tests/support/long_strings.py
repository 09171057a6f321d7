"""Run folders in whose records every string is long and hostile."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dfkd_tune.records import (
    AuditCard,
    EpochRecord,
    PoolRecord,
    Record,
    RunRecord,
    SelectedImagesRecord,
    SelectionRecord,
    SessionRecord,
    StatusRecord,
    TeacherCard,
    TrialRecord,
    YardsticksRecord,
)

EVIL = "</script><img src=x onerror=alert(1)>"
LONG = EVIL + "x" * 10_000
KINDS: dict[str, type[Record]] = {
    "audit/card.json": AuditCard,
    "pool.json": PoolRecord,
    "run.json": RunRecord,
    "selected/images.json": SelectedImagesRecord,
    "selection.json": SelectionRecord,
    "status.json": StatusRecord,
    "teacher/card.json": TeacherCard,
    "trial.json": TrialRecord,
    "yardsticks.json": YardsticksRecord,
}
NAMED = ("environment", "learning_rates", "losses", "parameters")
"""What holds its numbers by names."""

LINKS = frozenset(
    {"trial", "trials", "session", "student_sha256", "objective", "time", "created", "updated"}
    | {"data", "key", "kind", "variant", "name", "architecture"}
)
"""What ties records to one another, or orders them."""


def lengthen(folder: Path, *, links: bool) -> int:
    """Make every string of a run folder long where its record can still be read.

    Args:
        folder: of the run.
        links: also those that tie records to one another.

    Returns:
        How many strings were made long.
    """
    changed = 0
    for file in sorted(folder.rglob("*.json")):
        record = json.loads(file.read_text())
        kind = KINDS.get(f"{file.parent.name}/{file.name}") or KINDS.get(file.name)
        changed += _lengthen(record, kind, links)
        file.write_text(json.dumps(record))
    for name, kind in (("sessions.jsonl", SessionRecord), ("metrics.jsonl", EpochRecord)):
        for file in sorted(folder.rglob(name)):
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            changed += sum(_lengthen(line, kind, links) for line in lines)
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return changed


def _lengthen(record: Any, kind: type[Record] | None, links: bool) -> int:
    changed = 0
    for where, key in list(_strings(record)):
        before = where[key]
        if not links and key in LINKS:
            continue
        where[key] = LONG
        try:
            if kind is not None:
                kind.model_validate(record, strict=False)
            changed += 1
        except ValidationError:
            where[key] = before
    for name in NAMED:
        if isinstance(record.get(name), dict):
            record[name] = {f"{key} {LONG}": value for key, value in record[name].items()}
    return changed


def _strings(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where the strings below a value are."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        if isinstance(each, str):
            yield value, key
        elif isinstance(each, dict | list):
            yield from _strings(each)
