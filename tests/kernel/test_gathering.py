"""Rows that strangers cause: few, however many come, and none forgotten."""

from typing import Any

from server.kernel.record.gathering import Gathering

PAUSE = 60.0


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def gathering(clock: Clock, most: int = 10) -> Gathering:
    return Gathering(PAUSE, most, clock)


def counts(taken: list[tuple[Any, dict[str, Any], int]]) -> dict[Any, int]:
    return {key: count for key, _, count in taken}


def test_the_first_is_written_at_once_and_the_rest_together() -> None:
    clock = Clock()
    gathered = gathering(clock)
    assert gathered.note("a", dict)
    assert counts(gathered.take()) == {"a": 1}
    for _ in range(1000):
        assert gathered.note("a", dict)
    clock.now = PAUSE - 1
    assert gathered.take() == []
    clock.now = PAUSE
    assert counts(gathered.take()) == {"a": 1000}


def test_a_row_is_made_once_for_those_that_share_it() -> None:
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"number": len(made)}

    clock = Clock()
    gathered = gathering(clock)
    for _ in range(5):
        gathered.note("a", make)
    assert gathered.take() == [("a", {"number": 1}, 5)]
    gathered.note("a", make)
    assert len(made) == 2


def test_after_silence_the_next_is_a_first_one_again() -> None:
    clock = Clock()
    gathered = gathering(clock, most=1)
    gathered.note("a", dict)
    gathered.take()
    clock.now = PAUSE
    assert gathered.take() == []
    assert gathered.note("b", dict), "what is silent takes no room"
    assert counts(gathered.take()) == {"b": 1}


def test_kinds_without_end_cost_no_more_rows_than_there_is_room() -> None:
    clock = Clock()
    gathered = gathering(clock, most=3)
    written = 0
    for number in range(600):
        clock.now = number / 10
        gathered.note(number, dict)
        written += len(gathered.take())
    assert written == 3


def test_at_the_end_everything_is_written() -> None:
    gathered = gathering(Clock())
    gathered.note("a", dict)
    gathered.take()
    gathered.note("a", dict)
    gathered.note("a", dict)
    assert counts(gathered.take(everything=True)) == {"a": 2}
