"""`plinth completion`: what a shell needs to complete commands, options and the names of RPCs."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from plinth.client.command.call import WORDS_OF_METHODS
from plinth.client.command.contract import Contract
from plinth.client.command.faults import CommandFault

SHELLS = ("bash", "zsh")
# The names stand in the script, so that pressing Tab starts no program.
_BASH = """
{function}() {{
  compgen -W "{words}" -- "$1"
}}
"""
_ZSH = """
{function}() {{
  local -a names=({words})
  compadd -a names
}}
"""


def add_commands(commands: Any, whole: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the command to a parser. `whole` makes the parser of everything that is completed."""
    completion = commands.add_parser(
        "completion",
        help="print what lets a shell complete commands",
        description="Print a script that completes commands, options and names of RPCs.",
        epilog="plinth completion bash > ~/.local/share/bash-completion/completions/plinth",
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=lambda options: _print(options.shell, whole()))


def _print(shell: str, parser: argparse.ArgumentParser) -> int:
    try:
        import shtab  # noqa: PLC0415 - an extra of the package
    except ImportError as error:
        raise CommandFault("completion needs the package shtab: pip install 'plinth[command]'") from error
    words = " ".join(method.name for method in Contract.installed().methods)
    preamble = (_BASH if shell == "bash" else _ZSH).format(function=WORDS_OF_METHODS, words=words)
    sys.stdout.write(shtab.complete(parser, shell=shell, preamble=preamble))
    return 0
