"""What a run folder is, and the starts of the command that worked in it."""

from typing import Any, Literal

from pydantic import Field

from dfkd_tune.records._record import SCHEMA_VERSION, Record

RunState = Literal["running", "complete", "interrupted", "failed"]


class RunRecord(Record):
    """`run.json`.

    `kind` sweep: trials that a search proposes; comparison: trials given beforehand; distill: one
    trial outside a search.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["sweep", "comparison", "distill"]
    name: str
    state: RunState
    experiment_hash: str = Field(description="of all that decides which trials this run may hold")
    created: str
    updated: str
    session: str = Field(description="id of the start that owns the folder now")
    message: str = Field(default="", description="why it is in this state, in words")


class SessionRecord(Record):
    """One line of `sessions.jsonl`: a start of the command, with the machine it ran on."""

    session: str
    started: str
    command: str = Field(description="shell-quoted, as typed")
    resumed: bool
    environment: dict[str, Any] = Field(
        description="python, platform, packages {name: version}, hardware {cpu, cpu_cores, "
        "memory_gib, gpus: [name]}, git_commit"
    )
