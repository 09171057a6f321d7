"""`summary.json` and its published schema. Every summary that a test of reports writes is checked
against it by a fixture, with nothing undeclared in it."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.records import RunFolder
from reports import collect_run, summary_schema, write_report
from reports.compute.summary import RunSummary
from reports.summary_file import plain, summary_content

PUBLISHED = Path(__file__).parents[2] / "docs" / "summary.schema.json"


def test_the_published_schema_is_current() -> None:
    # dfkd-tune show schema summary > docs/summary.schema.json
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == summary_schema()


def test_every_field_is_described() -> None:
    schema = summary_schema()
    for name in (
        "RunContent",
        "LeaderboardRow",
        "Interval",
        "VariantContent",
        "ScoreQuality",
        "CellContent",
        "PublishedContent",
        "AggregateContent",
        "CompareContent",
        "ColumnContent",
    ):
        properties = schema["$defs"][name]["properties"]
        assert [key for key, value in properties.items() if not value.get("description")] == []
    run = schema["$defs"]["RunContent"]
    assert {field.name for field in fields(RunSummary)} <= set(run["required"])
    assert "None" not in json.dumps(schema)
    assert run["properties"]["teacher"]["description"] == (
        "architecture x width; null while there is none."
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"finished": "six"}, "'six' is not of type 'integer'"),
        ({"new": 1}, "('new' was unexpected)"),
        ({"counts": {"complete": 1.5}}, "1.5 is not of type 'integer'"),
    ],
)
def test_the_schema_refuses_what_is_wrong(
    realistic: RunFolder, summary_validator: Any, change: dict[str, Any], told: str
) -> None:
    content = summary_content([collect_run(realistic.path)])
    assert summary_validator.is_valid(content)
    content["runs"][0] |= change
    (error,) = summary_validator.iter_errors(content)
    assert told in error.message


def test_a_number_that_is_not_finite_is_null(make_run: Any, spec: Any) -> None:
    run = make_run([spec(values=(0.5,), parameters={"weight": float("inf")})])
    text = write_report([run.path]).summary_json.read_text(encoding="utf-8")
    assert "Infinity" not in text
    (row,) = json.loads(text)["runs"][0]["leaderboard"]
    assert (row["last_value"], row["settings"]) == (0.5, {"weight": None})
    assert plain({"b": (float("inf"), 1), "a": {2: -0.5}}) == {"a": {"2": -0.5}, "b": [None, 1]}


def test_several_runs_are_in_their_order(make_run: Any, spec: Any, tmp_path: Path) -> None:
    runs = [make_run([spec(values=(0.5,))], name=name) for name in ("b", "a")]
    files = write_report([run.path for run in runs], tmp_path / "out")
    content = json.loads(files.summary_json.read_text(encoding="utf-8"))
    assert set(content) == {"schema_version", "runs", "matrix", "aggregate"}
    assert [run["name"] for run in content["runs"]] == ["b", "a"]
