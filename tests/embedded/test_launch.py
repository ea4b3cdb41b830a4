"""What a process does to itself before it becomes a child of `plinth up`."""

import os
import signal

import pytest

from server.embedded import launch


def test_what_only_linux_knows_is_asked_of_no_other_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "ON_LINUX", False)
    # macOS has no prctl(2).
    monkeypatch.setattr(launch, "_libc", object)
    launch.die_with(os.getppid(), signal.SIGKILL)
    launch.rename("plinth api-0")
