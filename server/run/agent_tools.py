"""`plinth mcp`: the tools of a Plinth for an AI agent on this machine, over standard input and output."""

import argparse
import asyncio
from pathlib import Path

from plinth.client.command.connecting import Target, target_of
from plinth.client.command.faults import CommandFault

from server import app
from server.agents import stdio
from server.faults import REFUSED, Fault
from server.kernel.record.logs import configure_logging


def run(options: argparse.Namespace) -> int:
    """Answer the agent until it closes standard input. Raises Fault."""
    configure_logging("WARNING")
    try:
        target = _target(options)
        # Refuses an address that is no URL.
        target.client().close()
        groups = [name for name in options.groups.split(",") if name]
        serving = stdio.serve(app.reference(), target, groups=groups, may_write=options.write)
        asyncio.run(serving)
    except CommandFault as fault:
        raise Fault(str(fault), fault.status) from fault
    except ValueError as error:
        raise Fault(str(error), REFUSED) from error
    return 0


def _target(options: argparse.Namespace) -> Target:
    """The Plinth and the credentials: those of a profile, or an API key. Raises CommandFault."""
    if not options.api_key_file:
        return target_of(options)
    if not options.url:
        raise CommandFault("an API key needs the address of its Plinth: name it with --url")
    return Target(options.url, _secret_in(options.api_key_file))


def _secret_in(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise CommandFault(f"{path}: {error.strerror}") from error
