"""Loops survive what their work raises, say so once, and are late when their thread is gone."""

import io
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from threading import Event

import pytest
from prometheus_client import REGISTRY

from server import pulses
from server.faults import Ailing
from server.kernel.dependencies import Dependencies, Dependency
from server.kernel.loops import Loop
from server.kernel.record import logs
from server.kernel.record.logs import CallLog
from server.metrics.background import Background, of_host
from tests.clients import unique
from tests.stack import PATIENCE, wait_for

SHORT = 0.001


@pytest.fixture
def name() -> Iterator[str]:
    """A name of a loop that nobody else has."""
    name = unique("loop")
    yield name
    for pulse in pulses.known():
        if pulse.name == name:
            pulses.end(pulse)


def pulse_of(name: str) -> pulses.Pulse:
    return next(pulse for pulse in pulses.known() if pulse.name == name)


def failures(name: str) -> float:
    return REGISTRY.get_sample_value("plinth_loop_failures_total", {"loop": name}) or 0.0


def test_a_loop_goes_on_after_failures_and_tells_of_them_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    rounds, enough = count(1), Event()

    def work() -> None:
        if next(rounds) > 20:
            enough.set()
            return
        raise OSError("No space left on device")

    loop = Loop(name, work, SHORT)
    with caplog.at_level(logging.ERROR, "plinth.loops"):
        loop.start()
        assert enough.wait(PATIENCE)
        loop.stop(PATIENCE)
    assert failures(name) == 20
    assert [record.getMessage() for record in caplog.records] == [f"{name} failed and goes on"]


def test_a_loop_whose_thread_dies_is_late_at_once_and_makes_health_degraded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _: None)

    def work() -> None:
        raise SystemExit

    Loop(name, work, SHORT).start()
    wait_for(lambda: pulse_of(name).is_late)
    dependencies = Dependencies([Dependency("background", Background(of_host(None)).ask, vital=False)])
    dependencies.look()
    (finding,) = dependencies.findings
    assert not finding.is_there
    assert name in finding.message


def test_what_was_asked_to_end_is_judged_no_more(name: str) -> None:
    loop = Loop(name, lambda: None, SHORT, at_end=True)
    loop.start()
    loop.stop(PATIENCE)
    assert name not in {pulse.name for pulse in pulses.known()}


def test_a_new_try_is_no_success(name: str) -> None:
    """A reader that fails again and again begins again and again; its pulse goes on from where it was."""
    first = pulses.begin(name, 1.0)
    first.stop()
    assert pulses.begin(name, 1.0).is_late


def test_many_that_are_late_are_told_in_few_words() -> None:
    told = [(f"loop-{number:02}", 20.0, 10.0) for number in range(30)]
    with pytest.raises(Ailing, match=r"loop-00, .*loop-04 and 25 more"):
        Background(lambda: told).ask()


def test_findings_grow_old_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    dependencies = Dependencies([Dependency("database", lambda: None, vital=True)], lambda: datetime.now(UTC))
    dependencies.look()
    monkeypatch.setattr("server.kernel.dependencies.LATEST", -1.0)
    found = {finding.name: finding for finding in dependencies.findings}
    assert found["database"].is_there
    assert "has stopped" in found["background"].message


class Full(io.StringIO):
    """Standard error on a disk that is full until it has room."""

    has_room = False

    def write(self, text: str) -> int:
        if not self.has_room:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_call_lines_go_on_after_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, lost = Full(), "plinth_call_lines_lost_total"
    before = REGISTRY.get_sample_value(lost) or 0.0
    monkeypatch.setattr(sys, "stderr", disk)
    monkeypatch.setattr(logs, "BATCH_SECONDS", SHORT)
    log = CallLog()
    log.start()
    log.write('"method":"lost"')
    wait_for(lambda: (REGISTRY.get_sample_value(lost) or 0.0) == before + 1)
    disk.has_room = True
    log.write('"method":"kept"')
    wait_for(lambda: "kept" in disk.getvalue())
    assert "lost" not in disk.getvalue()
    log._loop.stop(PATIENCE)  # type: ignore[union-attr]  # noqa: SLF001 - it has no end of its own
