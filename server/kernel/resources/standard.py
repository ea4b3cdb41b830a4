"""Standard methods (AIP-131 to 135, 164, 231, 233 to 235): from the shape of a request to the rows of its resource."""

import re
from collections.abc import Callable, Iterable
from typing import cast

from google.api import resource_pb2
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.call import Call
from server.kernel.chain import Answer, CustomMethod, Request, Stream, Unary
from server.kernel.policy import Kind, MethodPolicy, kind_of, options_of
from server.kernel.queries.pages import PageTokens
from server.kernel.resources.batches import CREATE, DELETE, UPDATE, Batches
from server.kernel.resources.cascade import Descendants
from server.kernel.resources.lists import Lister
from server.kernel.resources.reorder import Reordering
from server.kernel.resources.requested_changes import mask_of
from server.kernel.resources.rows import ResourceRows
from server.kernel.resources.service import AnyService, by_name, camel, check_methods, python_name
from server.kernel.search.declaration import check_request
from server.kernel.sinks import Begin


class MissingHandler(Exception):
    """No handler serves a declared RPC, and the server must not start."""


class StandardMethods:
    """The standard methods of one service's resource."""

    def __init__(self, service: AnyService, rows: ResourceRows[Message], tokens: PageTokens) -> None:
        resource = rows.resource.message.DESCRIPTOR.GetOptions().Extensions[resource_pb2.resource]
        self._rows = rows
        self._tokens = tokens
        self._service = service
        self._singular = re.sub(r"(?<!^)(?=[A-Z])", "_", resource.type.rpartition("/")[2]).lower()
        self._plural = re.sub(r"(?<!^)(?=[A-Z])", "_", resource.plural).lower()
        self._id = "" if rows.resource.singleton else f"{self._singular}_id"
        states = rows.resource.states
        name = resource.type.rpartition("/")[2]
        self._actions = {f"{camel(action)}{name}": action for action in (states.actions if states else ())}

    def handler(self, method: MethodPolicy) -> Unary:
        """The handler of a standard method. Raises MissingHandler for a custom one."""
        makers: dict[Kind, Callable[[MethodPolicy], Unary]] = {
            Kind.GET: self._get,
            Kind.LIST: self._list,
            Kind.CREATE: self._create,
            Kind.UPDATE: self._update,
            Kind.DELETE: self._delete,
            Kind.UNDELETE: self._undelete,
            Kind.BATCH_GET: self._batch_get,
            Kind.BATCH_CREATE: self._batch,
            Kind.BATCH_UPDATE: self._batch,
            Kind.BATCH_DELETE: self._batch,
            Kind.BATCH_WRITE: self._batch,
            Kind.REORDER: self._reorder,
        }
        if method.kind in makers:
            return makers[method.kind](method)
        if method.name in self._actions:
            return self._action(self._actions[method.name])
        raise MissingHandler(f"{method.path} is declared, but {type(self._service).__name__} does not serve it")

    def _id_of(self, request: Request) -> str:
        return getattr(request, self._id) if self._id else ""

    def _get(self, _: MethodPolicy) -> Unary:
        rows, id_of = self._rows, self._id_of
        return lambda call, request: rows.get(call, id_of(request), request)

    def _list(self, method: MethodPolicy) -> Unary:
        check_request(self._rows.resource.search, method.descriptor.input_type)
        lister = Lister(self._rows, self._tokens)
        response_class = GetMessageClass(method.descriptor.output_type)
        plural = self._plural

        def handle(call: Call, request: Request) -> Answer:
            resources, token, total = lister.page(call, request)
            return response_class(**{plural: resources}, next_page_token=token, total_size=total)

        return handle

    def _create(self, _: MethodPolicy) -> Unary:
        rows, body = self._rows, self._singular

        def handle(call: Call, request: Request) -> Answer:
            return rows.insert(call, rows.new(request, body))

        return handle

    def _update(self, _: MethodPolicy) -> Unary:
        rows, body = self._rows, self._singular
        read_only = rows.read_only.names

        def handle(call: Call, request: Request) -> Answer:
            source = getattr(request, body)
            mask = mask_of(call, request, source, read_only)
            before = rows.lock(call, self._id_of(request), etag=source.etag, request=request)
            return rows.update(call, rows.changed(call, source, before, mask), before)

        return handle

    def _delete(self, _: MethodPolicy) -> Unary:
        rows = self._rows

        def handle(call: Call, request: Request) -> Answer:
            before = rows.lock(call, self._id_of(request), etag=request.etag, request=request)
            call.event_payload = rows.delete(call, before)
            return Empty()

        return handle

    def _undelete(self, _: MethodPolicy) -> Unary:
        rows = self._rows

        def handle(call: Call, request: Request) -> Answer:
            before = rows.lock(call, self._id_of(request), deleted=True, request=request)
            return rows.undelete(call, before)

        return handle

    def _batch_get(self, method: MethodPolicy) -> Unary:
        rows, plural, tokens = self._rows, self._plural, self._tokens
        response_class = GetMessageClass(method.descriptor.output_type)

        def handle(call: Call, request: Request) -> Answer:
            ids = list(request.ids)
            # Not bound to the caller: cached answers are shared by all who have the permission.
            question = "\n".join((call.method.path, call.tenant_id or "", *ids))
            start = cast("int", tokens.read(question, request.page_token)["after_0"]) if request.page_token else 0
            found = rows.batch_get(call, ids[start:], request)
            end = start + len(found)
            return response_class(
                **{plural: found}, next_page_token=tokens.write(question, [end]) if end < len(ids) else ""
            )

        return handle

    def _batch(self, method: MethodPolicy) -> Unary:
        return Batches(self._rows, self._singular, self._plural, self._events()).handler(method)

    def _reorder(self, method: MethodPolicy) -> Unary:
        return Reordering(self._rows).handler(method)

    def _action(self, action: str) -> Unary:
        rows = self._rows

        def handle(call: Call, request: Request) -> Answer:
            before = rows.lock(call, self._id_of(request), etag=getattr(request, "etag", ""), request=request)
            return rows.update(call, rows.acted(before, action), before)

        return handle

    def _events(self) -> dict[str, str]:
        """The types of event of a creation, an update and a deletion, as their RPCs declare them."""
        kinds = {Kind.CREATE: CREATE, Kind.UPDATE: UPDATE, Kind.DELETE: DELETE}
        found = {}
        for method in self._service.descriptor.methods:
            verb, option = kinds.get(kind_of(method)), options_of(method)
            if verb and option is not None:
                found[verb] = option.emits
        return found


def _link(services: Iterable[AnyService]) -> None:
    """Tell the rows of each resource what belongs to them."""
    own = {id(service.resource): service for service in services if service.resource is not None}
    resources = [service.rows.resource for service in own.values()]
    for service in own.values():
        descendants = Descendants(service.rows.resource, resources)
        if descendants.resources:
            tags = {tag for below in descendants.resources for tag in _cached_under(own[id(below)])}
            service.rows.descendants = descendants.with_tags(tags)


def _cached_under(service: AnyService) -> set[str]:
    """The tags under which the reads of a service are cached."""
    options = [options_of(method) for method in service.descriptor.methods]
    return {tag for option in options if option is not None for tag in option.cache.tags}


class ServiceHandlers:
    """Finds the handler of every RPC: the method of that name on its service, or else the standard method."""

    def __init__(self, services: Iterable[AnyService], tokens: PageTokens) -> None:
        self._services = by_name(services)
        for service in self._services.values():
            check_methods(type(service))
        _link(self._services.values())
        self._standard = {
            name: StandardMethods(service, service.rows, tokens)
            for name, service in self._services.items()
            if service.resource is not None
        }

    def unary(self, method: MethodPolicy) -> Unary:
        """The handler of a unary RPC. Raises MissingHandler."""
        custom = self._custom(method)
        if custom is not None:
            return custom
        standard = self._standard.get(method.descriptor.containing_service.full_name)
        if standard is None:
            raise MissingHandler(f"{method.path} is declared, but nothing serves it")
        return standard.handler(method)

    def stream(self, method: MethodPolicy) -> Stream:
        """The handler of a streaming RPC. Raises MissingHandler."""
        custom = self._custom(method)
        if custom is None:
            raise MissingHandler(f"{method.path} is declared, but nothing serves it")
        return custom

    def begin(self, method: MethodPolicy) -> Begin:
        """What begins to store an upload. Raises MissingHandler."""
        service = self._services.get(method.descriptor.containing_service.full_name)
        begin = service.uploads.get(method.name) if service is not None else None
        if begin is None:
            raise MissingHandler(
                f"{method.path} is an upload, and nothing stores its bytes: name a sink in `uploads` of its service"
            )
        return begin

    def _custom(self, method: MethodPolicy) -> CustomMethod | None:
        name = method.descriptor.containing_service.full_name
        return getattr(self._services.get(name), python_name(method.name), None)
