"""`plinth mcp`: the tools of a Plinth for an AI agent on this machine, over standard input and output."""

import argparse
import asyncio
from pathlib import Path

from plinth.client.aio.client import AsyncPlinth

from server import app
from server.agents import stdio
from server.faults import REFUSED, Fault
from server.kernel.record.logs import configure_logging


def run(options: argparse.Namespace) -> int:
    """Answer the agent until it closes standard input. Raises Fault."""
    configure_logging("WARNING")
    api_key = _secret_in(options.api_key_file)

    def connect(agent: str) -> AsyncPlinth:
        return AsyncPlinth(options.url, api_key=api_key, user_agent=agent)

    try:
        connect("")
        groups = [name for name in options.groups.split(",") if name]
        asyncio.run(stdio.serve(app.reference(), connect, groups=groups, may_write=options.write))
    except ValueError as error:
        raise Fault(str(error), REFUSED) from error
    return 0


def _secret_in(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}", REFUSED) from error
