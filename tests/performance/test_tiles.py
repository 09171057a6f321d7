"""Convolutions by tiles beside those as ever."""

import json
from pathlib import Path

from performance import tiles


def test_convolutions_are_timed_both_ways(tmp_path: Path) -> None:
    output = tmp_path / "tiles.json"
    tiles.main("8:8:4,256:4:8", turns=1, threads=1, output=output)
    found = json.loads(output.read_text())
    assert [case["channels"] for case in found["cases"]] == [8, 256]
    for case in found["cases"]:
        assert list(case["milliseconds"]) == ["as ever", "by tiles"]
        assert min(case["milliseconds"].values()) > 0
    assert found["threads"] == 1
