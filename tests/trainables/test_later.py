"""Work beside the training: it is done, in turn, and what it raises is heard."""

import threading

import pytest

from trainables._later import Later


def test_work_goes_on_beside_and_is_waited_for() -> None:
    later, may_end, done = Later(), threading.Event(), []

    def work() -> None:
        assert may_end.wait(30)
        done.append(threading.current_thread())

    later.begin(work)
    # It waits for us: so it is not done by this thread.
    assert not done
    may_end.set()
    later.finish()
    assert len(done) == 1
    assert done[0] is not threading.current_thread()
    later.finish()


def test_a_piece_begins_when_the_one_before_has_ended() -> None:
    later, order = Later(), []
    hold = threading.Event()

    def first() -> None:
        assert hold.wait(30)
        order.append("first")

    later.begin(first)
    threading.Timer(0.1, hold.set).start()
    later.begin(lambda: order.append("second"))
    assert order[0] == "first"
    later.finish()
    assert order == ["first", "second"]


def test_an_error_is_raised_where_it_is_waited_for_and_once() -> None:
    later, done = Later(), []

    def broken() -> None:
        raise ValueError("no")

    later.begin(broken)
    with pytest.raises(ValueError, match="no"):
        later.begin(lambda: done.append(1))
    assert done == []
    later.begin(lambda: done.append(2))
    later.finish()
    assert done == [2]
    later.begin(broken)
    # At the end of a trial that ends for another reason.
    later.close()
