"""The commands of who calls a Plinth, and what they have in common: faults in a line, and exit statuses."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from plinth.client.command import call, completion, login, tail
from plinth.client.command.ending import ended
from plinth.client.command.faults import CommandFault

NAMES = ("call", "tail", "login", "logout", "profiles", "completion")
"""The commands."""
Whole = Callable[[], argparse.ArgumentParser]
STATUSES = (
    "Exit statuses: 0 done; 1 an operation failed; 2 the arguments are refused; 6 the server refused the call; 7 the "
    "server does not answer; 130 interrupted. Faults are told on standard error."
)


def main(arguments: Sequence[str] | None = None, whole: Whole | None = None) -> int:
    """Run a command. Returns its exit status. `whole` makes the parser that completion is about."""

    def run() -> int:
        options = parser(whole).parse_args(arguments)
        try:
            return int(options.run(options))
        except CommandFault as fault:
            sys.stderr.write(f"plinth: {fault}\n")
            return fault.status

    return ended(run)


def parser(whole: Whole | None = None) -> argparse.ArgumentParser:
    """The parser of these commands alone, for who has only the client."""
    made = argparse.ArgumentParser(prog="plinth", description="Call a Plinth.", epilog=STATUSES)
    add_commands(made.add_subparsers(required=True, metavar="COMMAND"), whole or parser)
    return made


def add_commands(commands: Any, whole: Whole) -> None:
    """Add the commands to a parser, of which `whole` makes another one."""
    for part in (call, tail, login):
        part.add_commands(commands)
    completion.add_commands(commands, whole)
