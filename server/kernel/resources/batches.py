"""Batches (AIP-233 to 235): several changes of one resource in one transaction, all or none.

Each change has its own event. A refusal names the change: `requests[3].section.title`. A batch locks its rows in one
statement, and its writes are sent together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, NamedTuple

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.call import Call
from server.kernel.chain import Answer, Request
from server.kernel.messages.fields import descriptor_of, value_of
from server.kernel.messages.masks import apply_mask, check_mask, set_fields
from server.kernel.policy import Kind, MethodPolicy
from server.kernel.problems import Problem, RuleViolated, Violation, broken_rules
from server.kernel.resources.resource import M
from server.kernel.resources.rows import ResourceRows, check_etag

CREATE, UPDATE, DELETE = "create", "update", "delete"
Handle = Callable[[Call, Request], Answer]


class Change(NamedTuple):
    """One change of a batch."""

    path: str
    """Where it stands in the request: `requests[3]`."""
    verb: str
    request: Message
    resource_id: str
    """Empty for a creation."""


class Batches(Generic[M]):
    """The batch methods of one resource."""

    def __init__(self, rows: ResourceRows[M], singular: str, plural: str, events: dict[str, str]) -> None:
        """`singular` and `plural` are the names of fields; `events` are the types of event by verb."""
        self._rows = rows
        self._singular = singular
        self._plural = plural
        self._events = events

    def handler(self, method: MethodPolicy) -> Handle:
        """The handler of a batch method."""
        changes_of = {
            Kind.BATCH_CREATE: self._creations,
            Kind.BATCH_UPDATE: self._updates,
            Kind.BATCH_DELETE: self._deletions,
            Kind.BATCH_WRITE: self._operations,
        }[method.kind]
        response_class = GetMessageClass(method.descriptor.output_type)

        def handle(call: Call, request: Request) -> Answer:
            answers = self._change(call, request, changes_of(request))
            return Empty() if response_class is Empty else response_class(**{self._plural: answers})

        return handle

    # The changes of a request ----------------------------------------------------------------------------------------

    def _creations(self, request: Request) -> list[Change]:
        return [Change(f"requests[{place}]", CREATE, each, "") for place, each in enumerate(request.requests)]

    def _updates(self, request: Request) -> list[Change]:
        return [
            Change(f"requests[{place}]", UPDATE, each, self._id_in(each)) for place, each in enumerate(request.requests)
        ]

    def _deletions(self, request: Request) -> list[Change]:
        return [Change(f"ids[{place}]", DELETE, request, each.lower()) for place, each in enumerate(request.ids)]

    def _operations(self, request: Request) -> list[Change]:
        found = []
        for place, operation in enumerate(request.operations):
            path = f"operations[{place}]"
            verb = operation.WhichOneof("operation")
            if verb is None:
                raise broken_rules([Violation(path, "names a change", "required")])
            inside = value_of(operation, verb)
            resource_id = "" if verb == CREATE else self._id_in(inside)
            found.append(Change(f"{path}.{verb}", verb, inside, resource_id))
        return found

    def _id_in(self, request: Message) -> str:
        return str(value_of(request, f"{self._singular}_id")).lower()

    # Making them -----------------------------------------------------------------------------------------------------

    def _change(self, call: Call, request: Request, changes: Sequence[Change]) -> list[M]:
        _refuse_repeated(changes)
        befores = self._lock(call, request, changes)
        new = self._admit(call, changes)
        done: dict[int, M] = self._delete(call, changes, befores)
        violations: list[Violation] = []
        for place, change in enumerate(changes):
            with _at(change.path, violations):
                if change.verb == CREATE:
                    message, sent = new[place]
                    done[place] = self._rows.insert_admitted(call, message, sent)
                    call.emit(self._events[CREATE], str(value_of(done[place], "id")), done[place])
                elif change.verb == UPDATE:
                    done[place] = self._update(call, change.request, befores[change.resource_id])
        if violations:
            raise broken_rules(violations)
        # Each change has told its own event.
        call.emits = ""
        call.changes_nothing = not call.changes
        return [done[place] for place in range(len(changes))]

    def _lock(self, call: Call, request: Request, changes: Sequence[Change]) -> dict[str, M]:
        """Lock the rows to change. Raises NotFound for the first that is absent, and names it."""
        ids = [change.resource_id for change in changes if change.verb != CREATE]
        befores = self._rows.lock_all(call, ids, request) if ids else {}
        for change in changes:
            if change.resource_id and change.resource_id not in befores:
                problem = self._rows.absent(call, change.resource_id, request)
                problem.metadata["at"] = change.path
                raise problem
        return befores

    def _admit(self, call: Call, changes: Sequence[Change]) -> dict[int, tuple[M, M | None]]:
        """The new resources by place, each with what its request set that is output only."""
        groups: dict[str, list[int]] = {}
        messages: dict[int, M] = {}
        for place, change in enumerate(changes):
            if change.verb == CREATE:
                messages[place] = self._rows.new(change.request, self._singular)
                groups.setdefault(self._rows.parent_of(messages[place]), []).append(place)
        admitted: dict[int, tuple[M, M | None]] = {}
        for places in groups.values():
            sent = self._rows.admit(call, [messages[place] for place in places])
            admitted |= {place: (messages[place], each) for place, each in zip(places, sent, strict=True)}
        return admitted

    def _delete(self, call: Call, changes: Sequence[Change], befores: dict[str, M]) -> dict[int, M]:
        """Delete first, so that a creation may take what a deleted resource had."""
        places = [place for place, change in enumerate(changes) if change.verb == DELETE]
        if not places:
            return {}
        for place in places:
            change = changes[place]
            if change.path.startswith("operations"):
                self._check_etag(call, befores[change.resource_id], change.request)
        deleted = self._rows.delete_all(call, [befores[changes[place].resource_id] for place in places])
        for message in deleted:
            call.audience = self._rows.owner_of(message)
            call.emit(self._events[DELETE], str(value_of(message, "id")), message)
        return dict(zip(places, deleted, strict=True))

    def _update(self, call: Call, request: Message, before: M) -> M:
        source = value_of(request, self._singular)
        self._check_etag(call, before, source)
        paths = tuple(value_of(request, "update_mask").paths)
        mask = check_mask(descriptor_of(source), paths) if paths else set_fields(source)
        read_only = self._rows.read_only.names
        message = self._rows.copy_of(before)
        named = {path.partition(".")[0] for path in mask}
        self._rows.refuse_read_only(call, source, before, (named & read_only) - {"etag"})
        apply_mask(source, message, [path for path in mask if path.partition(".")[0] not in read_only | {"etag"}])
        made = len(call.changes)
        stored = self._rows.update(call, message, before)
        if len(call.changes) > made:
            call.emit(self._events[UPDATE], str(value_of(stored, "id")), stored)
        return stored

    @staticmethod
    def _check_etag(call: Call, before: Message, request: Message) -> None:
        """The ETag of each change is its own; the header If-Match names no single one of them."""
        check_etag(call, before, str(value_of(request, "etag")), header=False)


def _refuse_repeated(changes: Sequence[Change]) -> None:
    """Raise RuleViolated if two changes are of one resource: the second would not know of the first."""
    seen: set[str] = set()
    violations = []
    for change in changes:
        if change.resource_id and change.resource_id in seen:
            violations.append(Violation(change.path, "is changed twice", "batch.unique"))
        seen.add(change.resource_id)
    if violations:
        raise broken_rules(violations)


@contextmanager
def _at(path: str, violations: list[Violation]) -> Iterator[None]:
    """Gather broken rules under the path of a change, and add the path to any other problem."""
    try:
        yield
    except RuleViolated as refused:
        violations += [replace(each, field=f"{path}.{each.field}") for each in refused.violations]
    except Problem as problem:
        problem.metadata["at"] = path
        raise
