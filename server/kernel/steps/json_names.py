"""Names of fields for REST callers: the keys of the JSON that was sent, instead of the paths of the .proto.

Over gRPC a violation of `CreatePageRequest` is at `page.og_image`. Over REST, where the page is the body, it is at
`ogImage`, or at `og_image` if the caller spelled it so.
"""

import copy
import re
from urllib.parse import unquote

from server.kernel.policy import MethodPolicy
from server.kernel.problems import Problem, Reason, Violation

SUBSCRIPT = re.compile(r"\[[^\]]*\]")
# The field at the beginning of a message about it.
ABOUT = re.compile(r"`?([a-z][a-z0-9_]*(?:\[[^\]]*\])?(?:\.[A-Za-z0-9_]+(?:\[[^\]]*\])?)*)`?(?=: | )")


def camel(name: str) -> str:
    """`og_image` as `ogImage`. Names in camelCase stay unchanged."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


class JsonNames:
    """The names of one call's fields."""

    def __init__(self, method: MethodPolicy, keys: str) -> None:
        """`keys` are those of the body, in the form of the gateway."""
        self._known = method.descriptor.input_type.fields_by_name
        self._body = next((binding.body for binding in method.bindings if binding.body), "")
        sent = (".".join(unquote(part) for part in key.split(".")) for key in keys.split(",") if key)
        self._sent = {_camel_path(key): key for key in sent}

    def of(self, path: str) -> str:
        """A path of the .proto as the caller wrote it. A path that is no field of the request stays unchanged."""
        name = SUBSCRIPT.sub("", path.partition(".")[0])
        if name == self._body and "." in path:
            path = path.partition(".")[2]
        elif name not in self._known and self._body not in self._known:
            return path
        plain = SUBSCRIPT.sub("[]", path)
        spelled = self._sent.get(_camel_path(plain), _camel_path(plain)).split(".")
        return ".".join(
            SUBSCRIPT.sub("", name) + "".join(SUBSCRIPT.findall(part))
            for name, part in zip(spelled, path.split("."), strict=True)
        )

    def problem(self, problem: Problem) -> Problem:
        """The same problem with these names. An unknown field already has the caller's name."""
        if problem.reason is Reason.REASON_UNKNOWN_FIELD:
            return problem
        named = copy.copy(problem)
        named.violations = tuple(Violation(self.of(v.field), v.description, v.rule) for v in problem.violations)
        named.message = self._message(problem)
        if problem.reason is Reason.REASON_RESOURCE_TAKEN and "field" in problem.metadata:
            named.metadata = problem.metadata | {"field": self.of(problem.metadata["field"])}
        return named

    def _message(self, problem: Problem) -> str:
        """The message, with the caller's name for the field at its beginning."""
        about = ABOUT.match(problem.message)
        if about is None:
            return problem.message
        fields = {violation.field for violation in problem.violations}
        if about[1] not in fields and about[1] not in self._known:
            return problem.message
        return problem.message.replace(about[1], self.of(about[1]), 1)


def _camel_path(path: str) -> str:
    return ".".join(camel(part) for part in path.split("."))
