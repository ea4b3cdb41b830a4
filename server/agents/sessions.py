"""Who works through an agent: credentials, options, and the name of the agent."""

import re
from dataclasses import dataclass

from google.protobuf.message import Message
from plinth.client.aio.calls import AsyncCalls
from plinth.client.rpc import Metadata
from plinth.identity.v1.auth_pb2 import Caller, GetCallerRequest
from plinth.services import AsyncServices

from server.agents.catalogue import Options
from server.agents.tools import Tool
from server.kernel.call import VALIDATE_ONLY

LONGEST_NAME = 120
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class AgentSession:
    """One caller, for one request over HTTP or for as long as a program runs."""

    calls: AsyncCalls
    caller: Caller
    options: Options
    metadata: Metadata = ()
    """Sent with every call."""

    async def call(self, tool: Tool, request: Message, *, is_preview: bool, agent: Metadata) -> Message:
        """Call the RPC of a tool. Raises PlinthError."""
        trial = ((VALIDATE_ONLY, "true"),) if is_preview else ()
        return await self.calls.unary(tool.rpc, request, metadata=(*self.metadata, *agent, *trial))


async def caller_of(calls: AsyncCalls, metadata: Metadata) -> Caller:
    """Who calls with these credentials. Raises PlinthError."""
    return await AsyncServices(calls).auth.get_caller(GetCallerRequest(), metadata=metadata)


def agent_name(name: str, version: str) -> str:
    """What the audit log tells of an agent: `claude-desktop/1.2 (MCP)`."""
    said = f"{name}/{version}" if version else name
    plain = _UNPRINTABLE.sub(" ", said).strip()[:LONGEST_NAME]
    return f"{plain or 'unnamed agent'} (MCP)"
