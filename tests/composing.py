"""The plinth command with one domain more, which the product does not have.

    python -m tests.composing tests.providers.parcels up

The module named has `compose()`, which calls `add` with its Module.
"""

import importlib
import sys
from pathlib import Path
from typing import ClassVar

from server import modules
from server.kernel.module import Module
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[1]


def add(module: Module) -> None:
    """Name a domain among those of the product, before anything asks for them."""
    every = (*modules.MODULES, module)
    modules.MODULES = every
    for function in (modules.services, modules.roles, modules.grants):
        function.__defaults__ = (every,)
    modules.check.__defaults__ = (every, b"")


def command_with(domain: str) -> tuple[str, ...]:
    """The command that brings up a stack with the domain in a module of tests."""
    return (sys.executable, "-m", __name__, domain, "up")


class ComposedStack(Stack):
    """A stack with one domain more. A subclass has its own COMMAND (command_with)."""

    COMMAND: ClassVar[tuple[str, ...]] = ()

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"PYTHONPATH": str(ROOT)}


def main() -> int:
    """Compose, and run the command."""
    importlib.import_module(sys.argv.pop(1)).compose()
    # Everything else is imported by then with the domain among the others.
    from server.commands import main as plinth  # noqa: PLC0415 - see above

    return plinth()


if __name__ == "__main__":
    sys.exit(main())
