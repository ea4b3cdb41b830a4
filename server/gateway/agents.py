"""The address of AI agents: MCP over HTTP, which the process of agents answers as it comes."""

from server.gateway.clusters import AGENTS
from server.gateway.pieces import Config, seconds
from server.gateway.static_files import DISABLED
from server.settings import Settings

PATH = "/mcp"
# A request of an agent makes two calls: who is it, and what it asks for.
CALLS = 2
# What these filters do is for calls of the API.
UNUSED = ("envoy.filters.http.lua", "envoy.filters.http.grpc_json_transcoder")


def routes(settings: Settings) -> list[Config]:
    """The route, unless the settings turn agents off."""
    if not settings.agents:
        return []
    return [
        {
            "match": {"path": PATH},
            "route": {"cluster": AGENTS, "timeout": seconds(CALLS * settings.gateway_timeout)},
            "typed_per_filter_config": {name: {"@type": DISABLED, "disabled": True} for name in UNUSED},
        }
    ]
