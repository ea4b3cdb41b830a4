"""Whether somebody serves live streams, found out from the sessions of the database and the pulses of the host."""

from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from server.faults import Ailing
from server.workers.stream_attendance import StreamAttendance


class Scene:
    """Sessions, pulses and a clock of the test."""

    def __init__(self) -> None:
        self.time, self.readers, self.pulses = 1_000.0, 1, [("live events of realtime-0", 1.0, 10.0)]
        self.is_away = False
        self.attendance = StreamAttendance(
            self._run, lambda: self.pulses, patience=15.0, interval=5.0, clock=lambda: self.time
        )

    def _run(self, *_: Any, **values: Any) -> Any:
        assert values == {"program": "plinth realtime"}
        if self.is_away:
            raise psycopg.OperationalError
        return SimpleNamespace(row=lambda _: {"readers": self.readers})

    def after(self, seconds: float) -> str:
        """What it says a while later, having looked as often as it does."""
        end = self.time + seconds
        while self.time < end:
            self.time += 1.0
            try:
                self.attendance.ask()
                said = ""
            except Ailing as error:
                said = str(error)
        return said


def test_streams_are_served_while_somebody_reads_the_log() -> None:
    scene = Scene()
    assert scene.after(100) == ""
    scene.readers = 0
    # The last look was up to five seconds ago.
    assert scene.after(10) == ""
    assert scene.after(11) == "no process serves live streams"
    scene.readers = 2
    assert scene.after(5) == ""


def test_those_who_have_just_begun_are_given_time() -> None:
    scene = Scene()
    scene.readers = 0
    assert scene.after(14) == ""
    assert scene.after(7) == "no process serves live streams"


@pytest.mark.parametrize("loop", ["live events of realtime-0", "recheck of realtime-3"])
def test_a_reader_that_waits_in_vain_is_told(loop: str) -> None:
    scene = Scene()
    scene.pulses = [(loop, 11.0, 10.0), ("dispatch of worker-0", 99.0, 10.0)]
    assert scene.after(6) == f"has stopped, or waits in vain: {loop}"
    scene.pulses = []
    assert scene.after(6) == ""


def test_a_database_that_is_away_is_told_by_its_own_check() -> None:
    scene = Scene()
    scene.after(5)
    scene.is_away = True
    assert scene.after(100) == ""
    scene.is_away, scene.readers = False, 0
    assert scene.after(10) == ""
    assert scene.after(11) == "no process serves live streams"
