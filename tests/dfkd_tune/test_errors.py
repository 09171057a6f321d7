"""The error tree and its hints."""

import inspect
import pickle

import pytest

from dfkd_tune import errors
from dfkd_tune.errors import DfkdTuneError, SpaceError, UsageError, did_you_mean, unknown_name

ALL = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception)
]


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_every_error_is_in_the_tree_and_a_wrong_request_exits_with_two(
    error: type[DfkdTuneError],
) -> None:
    assert issubclass(error, DfkdTuneError)
    assert error.exit_code == (2 if issubclass(error, UsageError) else 1)


def test_what_is_a_wrong_request() -> None:
    usage = {error.__name__ for error in ALL if issubclass(error, UsageError)}
    assert usage == {"UsageError", "ExperimentError", "UnknownNameError", "SpaceError"}


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_every_error_survives_the_way_between_processes(error: type[DfkdTuneError]) -> None:
    if error is errors.DivergedError:
        made: DfkdTuneError = errors.DivergedError("student/kd", 3)
    elif error is errors.CollapsedError:
        made = errors.CollapsedError(("classes", "features"), 3)
    elif error is SpaceError:
        made = SpaceError(["a: wrong", "b: wrong too"])
    else:
        made = error("what and why")
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is error
    assert str(again) == str(made)
    assert vars(again) == vars(made)


def test_a_space_error_names_all_problems() -> None:
    error = SpaceError(line for line in ("a: one", "b: two"))
    assert error.problems == ("a: one", "b: two")
    assert str(error) == "a: one; b: two"


def test_a_near_name_is_suggested_and_all_are_listed_in_order() -> None:
    assert did_you_mean("cgd", ["dafl", "cgdd"]) == "did you mean 'cgdd'? Known: cgdd, dafl"


def test_a_far_name_gets_the_list_alone() -> None:
    assert did_you_mean("xyz", {"dafl": 1, "cgdd": 2}) == "Known: cgdd, dafl"
    assert did_you_mean("xyz", []) == "Known: none"


def test_an_unknown_name_says_of_what_kind() -> None:
    error = unknown_name("benchmark", "digit", ["digits"])
    assert str(error) == "there is no benchmark 'digit'; did you mean 'digits'? Known: digits"
    assert error.exit_code == 2
