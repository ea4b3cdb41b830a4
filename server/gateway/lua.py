"""The Lua script of the gateway: what is rendered from the contract, above the files beside this one."""

from collections.abc import Iterable, Iterator
from importlib.resources import files

from server.gateway.contract import FREE_FORM, HTTP_BODY, Binding, Contract, Method

FREE = "json_keys.FREE"


def script(contract: Contract) -> str:
    """Make the script for Envoy's Lua filter."""
    return "\n".join(
        [
            f"local utf8 = (function()\n{_source('utf8')}end)()\n",
            f"local json_keys = (function()\n{_source('json_keys')}end)()\n",
            f"local new_matcher = (function()\n{_source('paths')}end)()\n",
            "local BINDINGS = {",
            *(
                f"  {_binding(contract, method, binding)},"
                for method in contract.methods
                for binding in method.bindings
            ),
            "}\n",
            "local SHAPES = {",
            *(f"  [{_quote(name)}] = {shape}," for name, shape in sorted(_shapes(contract).items())),
            "}\n",
            _source("edge"),
        ]
    )


def _source(name: str) -> str:
    return files("server.gateway").joinpath(f"{name}.lua").read_text()


def _binding(contract: Contract, method: Method, binding: Binding) -> str:
    fields = {"verb": _quote(binding.verb), "pattern": _quote(binding.normal)}
    taken = [*binding.variables]
    body = contract.body_type(method, binding)
    if body is not None:
        fields["shape"] = _quote(body)
        fields["body"] = _quote("raw" if _is_raw(contract, body) else "json")
        if binding.body == "*":
            fields["whole"] = "true"
        else:
            taken.append(binding.body)
    if taken:
        fields["taken"] = _set(name for field in taken for name in _names(contract, method.request, field))
    return "{" + ", ".join(f"{name} = {value}" for name, value in fields.items()) + "}"


def _names(contract: Contract, message: str, name: str) -> set[str]:
    """A field's name in the .proto and in JSON; the transcoder takes both."""
    field = contract.field(message, name)
    return {name, field.json_name} if field else {name}


def _is_raw(contract: Contract, body: str) -> bool:
    """Whether the body is bytes of any type: google.api.HttpBody, alone or in a message that is the whole body."""
    return body == HTTP_BODY or any(field.type_name == f".{HTTP_BODY}" for field in contract.messages[body].field)


def _shapes(contract: Contract) -> dict[str, str]:
    """Every message that a JSON body can hold, as a Lua table of those fields which hold messages in turn."""
    bodies = {contract.body_type(method, binding) for method in contract.methods for binding in method.bindings}
    shapes: dict[str, str] = {}
    waiting = [body for body in bodies if body is not None]
    while waiting:
        name = waiting.pop()
        if name in shapes:
            continue
        children = dict(_children(contract, name))
        shapes[name] = FREE if name in FREE_FORM else _table(children)
        waiting += [child for child in children.values() if child is not None]
    return shapes


def _children(contract: Contract, message: str) -> Iterator[tuple[str, str | None]]:
    """The names of the fields that hold a message, as JSON has them and as the .proto has them; None: free-form."""
    for field in contract.messages[message].field:
        if field.type != field.TYPE_MESSAGE:
            continue
        child = field.type_name.lstrip(".")
        free = child in FREE_FORM or contract.messages[child].options.map_entry
        for name in {field.json_name, field.name}:
            yield name, None if free else child


def _table(children: dict[str, str | None]) -> str:
    fields = (f"[{_quote(name)}] = {_quote(child) if child else FREE}" for name, child in sorted(children.items()))
    return "{" + ", ".join(fields) + "}"


def _set(names: Iterable[str]) -> str:
    return "{" + ", ".join(f"[{_quote(name)}] = true" for name in sorted(names)) + "}"


def _quote(text: str) -> str:
    # Names of protobuf and paths hold neither quotes, backslashes nor control characters: Envoy refuses such patterns.
    return f'"{text}"'
