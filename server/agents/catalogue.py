"""What an agent gets to see: single tools of chosen groups, or three tools with which to find and call all others.

Descriptions of five hundred tools would be 130,000 tokens. An agent that names no groups therefore searches.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import mcp_types as types
from plinth.identity.v1.auth_pb2 import Caller

from server.agents.schemas import ToolSchemas
from server.agents.search import ToolSearch
from server.agents.tools import Tool, tools_of
from server.json_values import JsonObject
from server.reference import Reference

FIND, READ, CHANGE = "find_tools", "read", "change"
FOUND, MOST_FOUND = 8, 20
"""How many tools a search answers by default, and at most."""
PAGE = 50
"""Tools in a page of tools/list."""
_NAME: JsonObject = {"type": "string", "description": "The name of a tool, as find_tools tells it."}
_ARGUMENTS: JsonObject = {"type": "object", "description": "Its arguments, by the schema that find_tools tells."}


class UnknownGroup(ValueError):
    """Somebody asked for a group that does not exist. The message names those that do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an agent was set up with."""

    groups: frozenset[str] = frozenset()
    """Whose tools it gets directly; empty for tools that find the others."""
    may_write: bool = False
    """Whether it gets tools that change something, if the caller may call them."""


class Catalogue:
    """Every tool of the contract, and who gets which."""

    def __init__(self, reference: Reference) -> None:
        """Raises ValueError for RPCs that cannot be tools as they are named."""
        comments = reference.comments()
        self.tools: Mapping[str, Tool] = tools_of(reference.methods, comments)
        self.groups = tuple(dict.fromkeys(tool.group for tool in self.tools.values()))
        self._schemas = ToolSchemas(comments)
        self._search = ToolSearch(list(self.tools.values()))

    def options(self, groups: Iterable[str], *, may_write: bool) -> Options:
        """Options with these groups. Raises UnknownGroup."""
        chosen = frozenset(groups)
        for unknown in sorted(chosen - set(self.groups)):
            raise UnknownGroup(f"`{unknown}` is no group of tools. There are: {', '.join(self.groups)}.")
        return Options(chosen, may_write)

    def permitted(self, caller: Caller, options: Options) -> list[Tool]:
        """The tools that this caller may call with these options."""
        return [
            tool
            for tool in self.tools.values()
            if (options.may_write or not tool.changes)
            and (not options.groups or tool.group in options.groups)
            and tool.is_permitted_to(caller)
        ]

    def listed(self, caller: Caller, options: Options) -> list[types.Tool]:
        """The tools that tools/list tells."""
        permitted = self.permitted(caller, options)
        if options.groups:
            return [self._single(tool) for tool in permitted]
        listed = [self._finding(permitted), _reading()]
        return [*listed, _changing()] if any(tool.changes for tool in permitted) else listed

    def found(self, caller: Caller, options: Options, question: str, group: str, limit: int) -> JsonObject:
        """The answer of find_tools."""
        among = [tool for tool in self.permitted(caller, options) if group in ("", tool.group)]
        ranked = self._search.best(question, among)
        shown = ranked[: max(1, min(limit, MOST_FOUND))]
        found: JsonObject = {"tools": [self._told(tool) for tool in shown]}
        if len(ranked) > len(shown):
            found["more"] = [tool.name for tool in ranked[len(shown) :]]
        return found

    def _told(self, tool: Tool) -> JsonObject:
        return {
            "name": tool.name,
            "call_with": CHANGE if tool.changes else READ,
            "description": _described(tool),
            "arguments": self._schemas.of(tool),
        }

    def _single(self, tool: Tool) -> types.Tool:
        return types.Tool(
            name=tool.name,
            title=tool.title,
            description=_described(tool),
            input_schema=dict(self._schemas.of(tool)),
            annotations=types.ToolAnnotations(
                title=tool.title,
                read_only_hint=not tool.changes,
                destructive_hint=tool.is_destructive,
                open_world_hint=bool(tool.method.providers),
            ),
        )

    def _finding(self, permitted: Sequence[Tool]) -> types.Tool:
        counts = ", ".join(
            f"{group} ({count})" for group in self.groups if (count := sum(tool.group == group for tool in permitted))
        )
        return types.Tool(
            name=FIND,
            title="Find tools",
            description=f"Finds the tools for a task by words, with their arguments. Groups that you may use, with the "
            f"number of their tools: {counts}. Without words it tells all tools of a group.",
            input_schema={
                "type": "object",
                "properties": {
                    "query": {"type": "string", "maxLength": 200, "description": "Words, such as `publish page`."},
                    "group": {"type": "string", "description": "Only tools of this group."},
                    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_FOUND, "default": FOUND},
                },
                "additionalProperties": False,
            },
            annotations=types.ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False),
        )


def _described(tool: Tool) -> str:
    if tool.changes and not tool.can_be_previewed:
        return f"{tool.description}\n\nIt cannot be previewed: ask the person you work for before you call it."
    return tool.description


def _reading() -> types.Tool:
    hints = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
    return _calling(READ, "Read", "Calls a tool that reads.", hints)


def _changing() -> types.Tool:
    description = (
        "Calls a tool that changes something. The argument `preview` of most tools is true unless you say otherwise: "
        "then the answer shows what would come of it, and nothing changes."
    )
    hints = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)
    return _calling(CHANGE, "Change", description, hints)


def _calling(name: str, title: str, description: str, hints: types.ToolAnnotations) -> types.Tool:
    """A tool that calls others."""
    return types.Tool(
        name=name,
        title=title,
        description=description,
        input_schema={
            "type": "object",
            "properties": {"tool": dict(_NAME), "arguments": dict(_ARGUMENTS)},
            "required": ["tool"],
            "additionalProperties": False,
        },
        annotations=hints,
    )
