"""MCP over standard input and output, for a program on the machine of the person whose credentials it has."""

from collections.abc import Callable

from mcp.server.stdio import stdio_server
from plinth.client.aio.client import AsyncPlinth
from plinth.client.command.connecting import Target

from server.agents.catalogue import Catalogue, Options
from server.agents.server import AgentServer, Context, agent_of
from server.agents.sessions import AgentSession, caller_of
from server.reference import Reference


class Program:
    """The one program that speaks through standard input."""

    def __init__(self, target: Callable[[], Target], options: Options) -> None:
        """`target` tells the credentials of now, which other commands may have renewed."""
        self._target = target
        self._options = options
        self._connected: tuple[Target, AsyncPlinth] | None = None

    async def session_of(self, context: Context) -> AgentSession:
        """Who works through it, with the permissions of now. Raises PlinthError."""
        calls = (await self._client(agent_of(context))).calls
        return AgentSession(calls, await caller_of(calls, ()), self._options)

    async def _client(self, agent: str) -> AsyncPlinth:
        """A client with these credentials, which tells the name of the agent."""
        target = self._target()
        if self._connected is None or self._connected[0] != target:
            await self.close()
            self._connected = target, AsyncPlinth(target.url, token=target.secret, user_agent=agent)
        return self._connected[1]

    async def close(self) -> None:
        """Close the connection."""
        if self._connected is not None:
            await self._connected[1].close()


async def serve(reference: Reference, target: Callable[[], Target], *, groups: list[str], may_write: bool) -> None:
    """Answer until standard input ends. Raises UnknownGroup."""
    catalogue = Catalogue(reference)
    program = Program(target, catalogue.options(groups, may_write=may_write))
    server = AgentServer(catalogue, program.session_of, reference.version).mcp
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
    await program.close()
