"""Background services are run again whenever they end, after pauses, and end with their worker."""

import asyncio
import logging

import pytest

from server.workers.supervision import run_until, supervise
from tests.stack import PATIENCE

LOGGER = "plinth.worker"
PAUSES = {"first_pause": 0.001, "longest_pause": 0.004}


class Service:
    """Fails as it is told to, then runs until cancelled."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends = list(ends)
        self.runs = 0
        self.steady = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        self.runs += 1
        if self._ends:
            end = self._ends.pop(0)
            if end is not None:
                raise end
            return
        self.steady.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


class Stubborn(Service):
    """Takes no notice of being cancelled, for a while."""

    async def run(self) -> None:
        self.steady.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)


def test_a_service_is_run_again_and_alike_failures_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> Service:
        service = Service(OSError("away"), OSError("still away"), None, ValueError())
        task = asyncio.create_task(supervise(service, **PAUSES))
        await asyncio.wait_for(service.steady.wait(), PATIENCE)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return service

    service = asyncio.run(scene())
    assert service.runs == 5
    assert service.ended
    told = [record.exc_info[0] if record.exc_info else None for record in caplog.records if record.name == LOGGER]
    assert told == [OSError, None, ValueError]


def test_pauses_grow_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async def scene() -> None:
        service = Service(*(OSError() for _ in range(8)))
        monkeypatch.setattr(asyncio, "sleep", note)
        task = asyncio.create_task(supervise(service, first_pause=1.0, longest_pause=16.0))
        await service.steady.wait()
        task.cancel()

    asyncio.run(scene())
    for pause, ceiling in zip(pauses, (1, 2, 4, 8, 16, 16, 16, 16), strict=True):
        assert ceiling / 2 <= pause <= ceiling


def test_all_services_end_with_their_worker(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> tuple[Service, Stubborn]:
        service, stubborn, stopped = Service(), Stubborn(), asyncio.Event()
        task = asyncio.create_task(run_until(stopped, [service, stubborn], patience=0.05))
        await service.steady.wait()
        await stubborn.steady.wait()
        stopped.set()
        await asyncio.wait_for(task, PATIENCE)
        return service, stubborn

    service, _ = asyncio.run(scene())
    assert service.ended
    assert [
        record.getMessage() for record in caplog.records if record.name == LOGGER and record.levelno == logging.ERROR
    ] == ["Stubborn did not end in time"]
