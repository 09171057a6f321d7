"""Works timed in turns."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from performance.turns import in_turns, write_cases

CPU = torch.device("cpu")


def test_works_take_turns_and_the_first_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now, done = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def work(name: str, seconds: float) -> None:
        now[0] += seconds if name in done else 100
        done.append(name)

    works = {"a": partial(work, "a", 1.5), "b": partial(work, "b", 0.25)}
    assert in_turns(works, 3, CPU) == {"a": 1500, "b": 250}
    assert done == ["a", "b"] * 4


def test_cases_are_written_with_what_they_came_from(tmp_path: Path) -> None:
    output = tmp_path / "cases.json"
    write_cases(output, [{"a": 1}], turns=2, threads=3, device=CPU)
    found = json.loads(output.read_text())
    assert found["environment"]["packages"]["torch"]
    del found["environment"]
    assert found == {"device": "cpu", "threads": 3, "turns": 2, "cases": [{"a": 1}]}
    write_cases(None, [], turns=1, threads=1, device=CPU)
