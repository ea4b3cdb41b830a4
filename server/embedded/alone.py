"""The embedded PostgreSQL without the rest of the stack, for commands that work on its data while no stack runs."""

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
    """Whether a stack, or a command such as this one, works on the data folder."""
    if not settings.data_dir.exists():
        return False
    with suppress(Fault), lock_folder(settings):
        return False
    return True


def with_postgres(settings: Settings, name: str, work: Callable[[], T]) -> T:
    """Do some work while the embedded PostgreSQL runs, and nothing else; what the work returned.

    The work is done in a process of its own, by this name, and JSON has to carry unchanged what it returns. The
    database cluster is made unless it is there. Raises Fault, also where a stack runs on the data folder, and StopAsked
    when a person wants out.
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
