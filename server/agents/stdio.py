"""MCP over standard input and output, for a program on the machine of the person whose credentials it has."""

import asyncio

from mcp.server.stdio import stdio_server
from plinth.client.aio.client import AsyncPlinth
from plinth.client.aio.credentials import AsyncRefresh
from plinth.client.command.connecting import Target
from plinth.client.credentials import Refresh

from server.agents.catalogue import Catalogue, Options
from server.agents.server import AgentServer, Context, agent_of
from server.agents.sessions import AgentSession, caller_of
from server.reference import Reference


class Program:
    """The one program that speaks through standard input."""

    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = options
        self._client: AsyncPlinth | None = None

    async def session_of(self, context: Context) -> AgentSession:
        """Who works through it, with the permissions of now. Raises PlinthError."""
        if self._client is None:
            # Not before the agent has introduced itself.
            self._client = self._connect(agent_of(context))
        return AgentSession(self._client.calls, await caller_of(self._client.calls, ()), self._options)

    def _connect(self, agent: str) -> AsyncPlinth:
        target = self._target
        return AsyncPlinth(
            target.url,
            token=target.secret or None,
            refresh_token=target.refresh_token or None,
            refresh=_in_thread(target.refresh) if target.refresh else None,
            user_agent=agent,
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()


def _in_thread(refresh: Refresh) -> AsyncRefresh:
    """Renew a session in a thread, because other commands may hold its lock."""
    return lambda request: asyncio.to_thread(refresh, request)


async def serve(reference: Reference, target: Target, *, groups: list[str], may_write: bool) -> None:
    """Answer until standard input ends. Raises UnknownGroup."""
    catalogue = Catalogue(reference)
    program = Program(target, catalogue.options(groups, may_write=may_write))
    server = AgentServer(catalogue, program.session_of, reference.version).mcp
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
    await program.close()
