"""The calls that jobs make on behalf of those who have started their operations (kernel/delegation.py)."""

from threading import Lock

from server import app
from server.kernel.delegation import Delegate, Delegation, Started
from server.settings import Settings


class JobCalls:
    """The calls that the jobs of a worker make on behalf of those who have started their operations.

    The services are made for the first of them: a worker without any does not pay 16 MB for them.
    """

    def __init__(self, settings: Settings, name: str, threads: int) -> None:
        """`threads` run jobs. Each may make a call, on a connection of its own."""
        self._settings = settings.model_copy(update={"database_pool_size": threads, "slow_threads": threads})
        self._name = f"{name} calls"
        self._lock = Lock()
        self._made: tuple[app.Made, Delegation] | None = None

    def of(self, started: Started) -> Delegate:
        """Who calls on behalf of the owner of an operation."""
        with self._lock:
            if self._made is None:
                made = app.make(self._settings, self._name, streams=False)
                made.guard.generations.open()
                made.databases.start()
                made.announcer.start()
                steps = made.guard.delegated_steps(made.in_transaction)
                self._made = made, Delegation(app.policies(), made.handlers, steps, made.guard.access.principal_of)
        return self._made[1].of(started)

    def close(self) -> None:
        """Close the connections."""
        if self._made is not None:
            made, _ = self._made
            for part in (made.announcer, made.databases, made.providers):
                part.close()
