from __future__ import annotations

import threading

import pytest

from hwnas.io.progress import report, reporting


@pytest.fixture
def seen():
    return []


@pytest.fixture
def listener(seen):
    return lambda *args: seen.append(args)


def test_a_report_without_a_listener_goes_nowhere():
    report("timing", 1, 2)


def test_reports_reach_the_listener_inside_the_block_only(seen, listener):
    report("before", 0, 1)
    with reporting(listener):
        report("timing", 1, 2)
        report("timing", 2, 2)
    report("after", 1, 1)
    assert seen == [("timing", 1, 2), ("timing", 2, 2)]


def test_an_inner_listener_takes_over_for_its_block(seen, listener):
    inner = []
    with reporting(listener):
        with reporting(lambda *args: inner.append(args)):
            report("inside", 1, 1)
        report("outside", 1, 1)
    assert (inner, seen) == ([("inside", 1, 1)], [("outside", 1, 1)])


def test_an_error_ends_the_listening(seen, listener):
    with pytest.raises(ZeroDivisionError), reporting(listener):
        raise ZeroDivisionError
    report("timing", 1, 1)
    assert seen == []


def test_another_thread_has_its_own_listener(seen, listener):
    with reporting(listener):
        thread = threading.Thread(target=report, args=("timing", 1, 1))
        thread.start()
        thread.join()
    assert seen == []
