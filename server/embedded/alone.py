"""The embedded PostgreSQL without the rest of the stack, for commands that use its data while no stack runs."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from server.embedded import postgres
from server.embedded.children import Task
from server.embedded.faults import Fault
from server.embedded.logs import Console, LogFolder
from server.embedded.supervisor import Supervisor
from server.embedded.up import lock_folder, make_data_folder, make_run_folders, run_folder
from server.settings import Settings

T = TypeVar("T")


def is_running(settings: Settings) -> bool:
    """Whether a stack, or a command such as this one, is using the data folder."""
    if not settings.data_dir.exists():
        return False
    with suppress(Fault), lock_folder(settings):
        return False
    return True


def with_postgres(settings: Settings, name: str, work: Callable[[], T]) -> T:
    """Run `work` while only the embedded PostgreSQL runs. Returns its result.

    The work runs in a process of its own with this name, so its result must be representable in JSON. The database
    cluster is created if it is absent. Raises Fault, also if a stack runs on the data folder, and StopAsked on an
    interrupt.
    """
    make_data_folder(settings.data_dir)
    with lock_folder(settings) as lock:
        logs = LogFolder(settings.data_dir / "logs", max_bytes=settings.log_max_bytes, backups=settings.log_backups)
        identity = make_run_folders(settings, (postgres.binaries(settings),))
        registry = run_folder(settings) / "processes.json"
        with Supervisor(Console(sys.stderr), logs=logs, registry=registry) as supervisor:
            supervisor.hold(lock)
            try:
                if postgres.is_new(settings):
                    supervisor.run(postgres.initialise(settings, identity))
                    postgres.adopt(settings)
                else:
                    postgres.examine(settings)
                supervisor.start(postgres.program(settings, identity))
                supervisor.await_ready("postgres")
                return supervisor.run(Task(name=name, run=work))
            finally:
                supervisor.stop()
