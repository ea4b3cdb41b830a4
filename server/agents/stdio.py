"""MCP over standard input and output, for a program on the machine of the person whose credentials it has."""

from collections.abc import Callable

from mcp.server.stdio import stdio_server
from plinth.client.aio.client import AsyncPlinth

from server.agents.catalogue import Catalogue, Options
from server.agents.server import AgentServer, Context, agent_of
from server.agents.sessions import AgentSession, caller_of
from server.reference import Reference

Connect = Callable[[str], AsyncPlinth]
"""Makes a client for an agent of this name."""


class Program:
    """The one program that speaks through standard input."""

    def __init__(self, connect: Connect, options: Options) -> None:
        self._connect = connect
        self._options = options
        self._client: AsyncPlinth | None = None

    async def session_of(self, context: Context) -> AgentSession:
        """Who works through it, with the permissions of now. Raises PlinthError."""
        if self._client is None:
            # Not before the agent has introduced itself.
            self._client = self._connect(agent_of(context))
        return AgentSession(self._client.calls, await caller_of(self._client.calls, ()), self._options)

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()


async def serve(reference: Reference, connect: Connect, *, groups: list[str], may_write: bool) -> None:
    """Answer until standard input ends. Raises UnknownGroup."""
    catalogue = Catalogue(reference)
    program = Program(connect, catalogue.options(groups, may_write=may_write))
    server = AgentServer(catalogue, program.session_of, reference.version).mcp
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
    await program.close()
