"""The official client of MCP, as a program that an agent is."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.clients import Tenant
from tests.stack import Stack

T = TypeVar("T")
# The protocol of 2026-07-28 and the one before, in which a client introduces itself once.
MODES = ("auto", "legacy")
AGENT = types.Implementation(name="test-agent", version="7.1")


class Agent:
    """A connected agent. What it is answered is JSON."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def tools(self) -> dict[str, types.Tool]:
        """All tools that it is told of, by name."""
        found: dict[str, types.Tool] = {}
        cursor: str | None = None
        while True:
            page = await self.client.list_tools(cursor=cursor)
            found |= {tool.name: tool for tool in page.tools}
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The answer of a tool."""
        is_error, answer = await self.ask(name, **arguments)
        assert not is_error, answer
        return answer

    async def ask(self, name: str, /, **arguments: Any) -> tuple[bool, Any]:
        """Whether a tool answered with an error, and what."""
        is_error, text = await self.text(name, **arguments)
        return is_error, json.loads(text)

    async def text(self, name: str, /, **arguments: Any) -> tuple[bool, str]:
        """The same as the text that a model reads."""
        result = await self.client.call_tool(name, arguments)
        content = result.content[0]
        assert isinstance(content, types.TextContent)
        return bool(result.is_error), content.text

    async def refused(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The error that a tool answers."""
        is_error, answer = await self.ask(name, **arguments)
        assert is_error, answer
        error: dict[str, Any] = answer["error"]
        return error


def work(stack: Stack, secret: str, task: Callable[[Agent], Awaitable[T]], query: str = "", mode: str = "auto") -> T:
    """Let an agent with these credentials do a task over HTTP."""

    async def run() -> T:
        headers = {"Authorization": f"Bearer {secret}", "User-Agent": "test-agent/7.1"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            transport = streamable_http_client(f"{stack.url}/mcp{query}", http_client=http)
            async with Client(transport, client_info=AGENT, mode=mode) as client:
                return await task(Agent(client))

    return asyncio.run(run())


def key_of(tenant: Tenant, *permissions: str) -> str:
    """An API key of the tenant with these permissions."""
    answer = tenant.rest.post(f"{tenant.path}/api-keys", {"name": "Agent", "permissions": list(permissions)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])
