"""How the document names operations, tags and paths."""

import re

from server.kernel.policy import Binding, MethodPolicy

VARIABLE = re.compile(r"\{([^={}]+)(?:=[^{}]*)?\}")
_BOUNDARY = re.compile(r"(?<!^)(?=[A-Z])")


def operation_id(method: MethodPolicy, binding: Binding) -> str:
    """`TripService.UpdateTrip`, and with a number for each further binding."""
    number = method.bindings.index(binding)
    return f"{method.descriptor.containing_service.name}.{method.name}" + (f".{number}" if number else "")


def tag_of(service: str) -> str:
    """`plinth.sites.v1.PageService` as `sites.PageService`."""
    _, domain, *_, name = service.split(".")
    return f"{domain}.{name}"


def in_words(name: str) -> str:
    """`GetPageBySlug` as `Get page by slug`."""
    return _BOUNDARY.sub(" ", name).lower().capitalize()


def summary_of(method: MethodPolicy, binding: Binding) -> str:
    """`Update page`; for a further binding with what differs, `Update page (PUT)`, so that lists tell them apart."""
    words, first = in_words(method.name), method.bindings[0]
    if binding == first:
        return words
    if binding.path == first.path:
        return f"{words} ({binding.verb})"
    path = shown(method, binding.path)
    has_others = sum(other.path == binding.path for other in method.bindings) > 1
    return f"{words} ({binding.verb} {path})" if has_others else f"{words} ({path})"


def variables(binding: Binding) -> list[str]:
    """The request fields in the path."""
    return [variable[1] for variable in VARIABLE.finditer(binding.path)]


def shown(method: MethodPolicy, path: str) -> str:
    """A path with its variables as in JSON: `{pageId}`."""
    for field in method.descriptor.input_type.fields:
        path = path.replace(f"{{{field.name}}}", f"{{{field.json_name}}}")
    return path
