"""Links of OpenAPI: which operations go on with what another one answered, and from where their paths are filled."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from google.api import resource_pb2
from google.protobuf.descriptor import Descriptor

from server.json_values import JsonObject
from server.kernel.messages.fields import message_type_of, option_of
from server.kernel.policy import Binding, Kind, MethodPolicy
from server.reference.naming import operation_id, variables

MADE = (201, 202)


class Links:
    """From what creates a resource to what gets, changes and deletes it; from a list to its first item."""

    def __init__(self, methods: Iterable[MethodPolicy]) -> None:
        self._methods = [method for method in methods if method.bindings]

    def of(self, method: MethodPolicy, binding: Binding) -> JsonObject:
        """The links of an operation by the name of the RPC that each leads to; none for most."""
        found: JsonObject = {}
        place = _answered(method)
        if place is None:
            return found
        for target in self._methods:
            parameters = _parameters(target, place, variables(binding))
            if parameters and (not place.is_listed or target.kind is Kind.GET):
                found[target.name] = {"operationId": operation_id(target, target.bindings[0]), "parameters": parameters}
        return found


class _Place(NamedTuple):
    """A resource in an answer."""

    resource: Descriptor
    pointer: str
    """Where it stands, as a JSON pointer."""
    is_listed: bool = False


def _answered(method: MethodPolicy) -> _Place | None:
    """The resource that calls go on with: what was made, or the first item of a list."""
    answer = method.descriptor.output_type
    if method.kind is Kind.LIST:
        lists = [field for field in answer.fields if field.is_repeated and field.message_type is not None]
        places = [_Place(message_type_of(field), f"/{field.json_name}/0", is_listed=True) for field in lists]
        return next((place for place in places if _id_of(place.resource)), None)
    is_made = not method.read_only and method.success_status in MADE and bool(_id_of(answer))
    return _Place(answer, "") if is_made else None


def _parameters(target: MethodPolicy, place: _Place, asked: Collection[str]) -> JsonObject:
    """What fills the path of an RPC that is about this resource; empty if it is not, or if something lacks.

    `asked` are the variables of the path that was called.
    """
    found: JsonObject = {}
    for name in variables(target.bindings[0]):
        field = target.descriptor.input_type.fields_by_name[name]
        if field.json_name == _id_of(place.resource):
            found[field.json_name] = f"$response.body#{place.pointer}/id"
        elif name in place.resource.fields_by_name:
            found[field.json_name] = f"$response.body#{place.pointer}/{field.json_name}"
        elif name in asked:
            found[field.json_name] = f"$request.path.{field.json_name}"
        else:
            return {}
    return found if _id_of(place.resource) in found else {}


def _id_of(message: Descriptor) -> str:
    """`tripId`, as requests name the id of a resource; empty for other messages."""
    name: str = option_of(message, resource_pb2.resource).singular
    return f"{name}Id" if name and "id" in message.fields_by_name else ""
