"""A stack with the domain of hooks, for the tests of a process that need one."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.composing import ComposedStack, command_with
from tests.inbound import hooks
from tests.inbound.hooks import FOLDER
from tests.stack import UNLIMITED

BAD_SIGNATURES, STREAMS = 40, 3


class HookStack(ComposedStack):
    """A stack with the domain of hooks."""

    COMMAND: ClassVar = command_with(hooks.__name__)

    @property
    def files(self) -> Path:
        """Where its uploads go."""
        return self.data_dir.parent / "files"

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {FOLDER: str(self.files)}


@pytest.fixture(scope="session")
def hook_stack() -> Iterator[HookStack]:
    # Few bad signatures and streams, so that a test comes to the end of them.
    rates = UNLIMITED | {"auth_failure": f"{BAD_SIGNATURES}/900"}
    stack = HookStack(rate_limits=rates, realtime_workers=1, streams_per_caller=STREAMS)
    stack.files.mkdir()
    # The engines' user may be another one.
    stack.files.chmod(0o777)
    try:
        yield stack.start()
    finally:
        stack.remove()
