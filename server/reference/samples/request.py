"""What a code sample has to say of a call, whatever its language."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from server.json_values import JsonValue
from server.reference.document import Body, Operation, Parameter

VARIABLE = re.compile(r"\{([^{}]+)\}")
JSON = "application/json"
_STREAM = "text/event-stream"
_BYTES = "application/octet-stream"


class Answer(Enum):
    """What comes back."""

    NOTHING = auto()
    JSON = auto()
    BYTES = auto()
    EVENTS = auto()


@dataclass(frozen=True)
class Request:
    """A call of an operation, with values for what it requires."""

    verb: str
    path: str
    """With its variables in braces: `/api/v1/pages/{pageId}`."""
    query: Mapping[str, str]
    content_type: str
    """Of the body; empty without one."""
    body: JsonValue
    """The body as JSON; None where it is bytes or absent."""
    is_guarded: bool
    """Whether it needs credentials."""
    answer: Answer

    @property
    def variables(self) -> list[str]:
        """The names in the path."""
        return VARIABLE.findall(self.path)

    def path_with(self, form: Callable[[str], str]) -> str:
        """The path with its variables as the language has them, which `form` makes of their names."""
        return VARIABLE.sub(lambda found: form(found[1]), self.path)


def request_of(path: str, verb: str, operation: Operation) -> Request:
    """The call of an operation of a document, with the examples that the document has."""
    query = {
        each["name"]: _as_text(each["example"])
        for each in parameters_of(operation)
        if each["in"] == "query" and each.get("required")
    }
    content = operation["requestBody"].get("content", {}) if "requestBody" in operation else {}
    kind = next(iter(content), "")
    body = content[kind].get("example", {}) if kind == JSON else None
    # What takes any type takes that of bytes without one.
    told = _BYTES if "*" in kind else kind
    return Request(verb.upper(), path, query, told, body, bool(operation["security"]), _answer(operation["responses"]))


def parameters_of(operation: Operation) -> list[Parameter]:
    """The parameters of an operation but for those that operations share: headers, which a call may leave out."""
    return [each for each in operation["parameters"] if "$ref" not in each]


def _answer(responses: Mapping[str, Body]) -> Answer:
    success = next(response for status, response in responses.items() if status.startswith("2"))
    kinds = success.get("content", {})
    if not kinds:
        return Answer.NOTHING
    if JSON in kinds:
        return Answer.JSON
    return Answer.EVENTS if _STREAM in kinds else Answer.BYTES


def _as_text(value: JsonValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def snake_case(name: str) -> str:
    """`pageId` as `page_id`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
