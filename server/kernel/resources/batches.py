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
from server.kernel.messages.masks import check_mask, set_fields
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
    etag: str = ""
    """The version that the change demands; empty if it takes any."""


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
        return [self._of(f"requests[{place}]", UPDATE, each) for place, each in enumerate(request.requests)]

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
            found.append(self._of(f"{path}.{verb}", verb, inside))
        return found

    def _of(self, path: str, verb: str, request: Message) -> Change:
        """The change that a request of a single one makes."""
        if verb == CREATE:
            return Change(path, verb, request, "")
        holder = value_of(request, self._singular) if verb == UPDATE else request
        resource_id = str(value_of(request, f"{self._singular}_id")).lower()
        return Change(path, verb, request, resource_id, str(value_of(holder, "etag")))

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
        """Lock the rows to change. Raises NotFound for the first that is absent, and EtagMismatch, with its path.

        The ETag of each change is its own; the header If-Match names no single one of them.
        """
        ids = [change.resource_id for change in changes if change.verb != CREATE]
        befores = self._rows.lock_all(call, ids, request) if ids else {}
        for change in changes:
            with _naming(change.path):
                if change.resource_id and change.resource_id not in befores:
                    raise self._rows.absent(call, change.resource_id, request)
                if change.etag:
                    check_etag(call, befores[change.resource_id], change.etag, header=False)
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
        deleted = self._rows.delete_all(call, [befores[changes[place].resource_id] for place in places])
        for message in deleted:
            self._rows.note_readers(call, message)
            call.emit(self._events[DELETE], str(value_of(message, "id")), message)
        return dict(zip(places, deleted, strict=True))

    def _update(self, call: Call, request: Message, before: M) -> M:
        source = value_of(request, self._singular)
        paths = tuple(value_of(request, "update_mask").paths)
        mask = check_mask(descriptor_of(source), paths) if paths else set_fields(source)
        made = len(call.changes)
        stored = self._rows.update(call, self._rows.changed(call, source, before, mask), before)
        if len(call.changes) > made:
            call.emit(self._events[UPDATE], str(value_of(stored, "id")), stored)
        return stored


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
    with _naming(path):
        try:
            yield
        except RuleViolated as refused:
            violations += [replace(each, field=f"{path}.{each.field}") for each in refused.violations]


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Add the path of a change to a problem."""
    try:
        yield
    except Problem as problem:
        problem.metadata["at"] = path
        raise
