"""The resources of all domains as the standard suite needs them, each derived from its descriptor and its `Resource`.

A test says with `needs(...)` which capabilities a resource must have, and runs against at most three that have them
and differ most. A new resource therefore gets its tests on the day on which it declares a capability. What cannot be
derived comes from tests/domains/<domain>/instances.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

from buf.validate import validate_pb2
from google.api import field_behavior_pb2, resource_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server import app
from server.kernel.policy import Access, Kind, MethodPolicy
from server.kernel.resources import AnyService
from server.kernel.resources.resource import NEWEST_FIRST, AnyResource
from server.kernel.resources.service import camel as capital
from server.kernel.resources.service import python_name
from tests.clients import Tenant
from tests.contract.instances import Instance, instances

INSTANCES = instances()
RULES: Any = validate_pb2.field
NOBODY = "01890000-0000-7000-8000-000000000000"
LONG = 200
"""Characters that a text without further rules may have at least."""
MOST = 3
# Children and others, such as come back and such as do not, with the tenant in the path and without.
TELLING = {"parent", "undelete", "tenant"}
"""Number of resources that a test runs against."""
BASIC = {Kind.CREATE, Kind.GET, Kind.LIST, Kind.UPDATE, Kind.DELETE}
"""What a resource of a tenant has for this suite."""
FREE_FORM = {"layout": "wide", "columns": [1, 2.5, {"deep": None}], "on": True}
# Of output-only fields: what nobody may write.
SAMPLES: dict[int, Any] = {
    FieldDescriptor.TYPE_STRING: NOBODY,
    FieldDescriptor.TYPE_BOOL: True,
    FieldDescriptor.TYPE_INT32: 7,
    FieldDescriptor.TYPE_INT64: "7",
}
MESSAGES: dict[str, Any] = {
    "google.protobuf.Timestamp": "2001-01-01T00:00:00Z",
    "google.type.Money": {"currencyCode": "EUR", "units": "7"},
}


@dataclass(frozen=True, eq=False)
class Described:
    """One resource, as its .proto and its service have it. Fields are called as in JSON."""

    service: type[AnyService]
    resource: AnyResource
    instance: Instance

    # Names.

    @cached_property
    def message(self) -> type[Message]:
        """Its message."""
        found: type[Message] = self.resource.message
        return found

    @property
    def name(self) -> str:
        """As in GetPage."""
        return str(self.message.DESCRIPTOR.name)

    @property
    def singular(self) -> str:
        """As in page_id."""
        return python_name(self.name)

    @property
    def plural(self) -> str:
        """As in the answer of a list."""
        return str(self.message.DESCRIPTOR.GetOptions().Extensions[resource_pb2.resource].plural)

    @property
    def resource_type(self) -> str:
        """`plinth.dev/Page`."""
        return str(self.message.DESCRIPTOR.GetOptions().Extensions[resource_pb2.resource].type)

    @property
    def domain(self) -> str:
        """`sites`."""
        return self.standard[Kind.LIST].domain

    @property
    def table(self) -> str:
        """The name of its table."""
        return self.resource.table.name

    # Methods.

    @cached_property
    def methods(self) -> dict[str, MethodPolicy]:
        """Its RPCs by name."""
        service = self.service.descriptor.full_name
        return {each.name: each for path, each in app.policies().items() if path.startswith(f"/{service}/")}

    @cached_property
    def standard(self) -> dict[Kind, MethodPolicy]:
        """Its standard methods."""
        return {method.kind: method for method in self.methods.values() if method.kind is not Kind.CUSTOM}

    def request(self, kind: Kind, **fields: Any) -> Any:
        """The request of a standard method; of the fields, those that it has."""
        message = GetMessageClass(self.standard[kind].descriptor.input_type)
        return message(**{name: value for name, value in fields.items() if name in message.DESCRIPTOR.fields_by_name})

    @property
    def has_tenant(self) -> bool:
        """Whether the tenant is in the path, and not that of the token."""
        return self.standard[Kind.LIST].has_tenant

    @property
    def parent_in_path(self) -> bool:
        """Whether the parent is in the path, and not a field of the body."""
        parent = self.resource.parent
        return parent is not None and any(
            f"{{{parent.field}}}" in binding.path for binding in self.standard[Kind.LIST].bindings
        )

    # Fields.

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Those that a caller sets, by their names in JSON."""
        beyond = {"etag", self.resource.parent.field if self.resource.parent else "", self.resource.owner}
        return {
            field.json_name: field
            for field in self.message.DESCRIPTOR.fields
            if field.name not in beyond and not behaves(field, field_behavior_pb2.OUTPUT_ONLY)
        }

    @cached_property
    def texts(self) -> list[str]:
        """Texts without further rules that may be empty; the ones that lists sort and find by first."""
        found = [name for name, field in self.fields.items() if is_plain_text(field)]
        return sorted(found, key=lambda name: -self._is_sorted(name) - self._is_found(name))

    def _is_sorted(self, name: str) -> bool:
        return self.fields[name].name in self.resource.sortable

    def _is_found(self, name: str) -> bool:
        return self.fields[name].name in self.resource.filterable

    @property
    def text(self) -> str:
        """A text field that may be empty."""
        return self.texts[0]

    @property
    def other(self) -> str:
        """Another one."""
        return self.texts[1]

    @cached_property
    def key(self) -> str:
        """The field that is unique in a tenant, and can be changed; empty if there is none."""
        unique = set(self.resource.unique.values())
        changes = [name for name, field in self.fields.items() if not behaves(field, field_behavior_pb2.IMMUTABLE)]
        return next((name for name in changes if self.fields[name].name in unique), "")

    @cached_property
    def free_form(self) -> str:
        """A Struct field; empty if there is none."""
        structs = [name for name, field in self.fields.items() if _type(field) == "google.protobuf.Struct"]
        return next((name for name in structs if name not in self.instance.ruled), "")

    @cached_property
    def required(self) -> list[str]:
        """Texts that may not be empty, with those that get a value where they are absent."""
        needed = (field_behavior_pb2.REQUIRED, field_behavior_pb2.NON_EMPTY_DEFAULT)
        texts = {name: field for name, field in self.fields.items() if is_text(field)}
        return [name for name, field in texts.items() if any(behaves(field, each) for each in needed)]

    @cached_property
    def immutable(self) -> list[str]:
        """What keeps the value with which it was created, and shows it; the parent included."""
        every = self.message.DESCRIPTOR.fields
        shown = [field for field in every if not behaves(field, field_behavior_pb2.INPUT_ONLY)]
        return [field.json_name for field in shown if behaves(field, field_behavior_pb2.IMMUTABLE)]

    @cached_property
    def output_only(self) -> dict[str, Any]:
        """Output-only fields with values that nobody may write."""
        found = {}
        parent = self.resource.parent
        for field in self.message.DESCRIPTOR.fields:
            if parent is not None and field.name == parent.field:
                continue
            if behaves(field, field_behavior_pb2.OUTPUT_ONLY) and not field.is_repeated:
                value = MESSAGES.get(_type(field), SAMPLES.get(field.type))
                if field.enum_type is not None:
                    value = field.enum_type.values[-1].name
                if value is not None:
                    found[field.json_name] = value
        return found

    @cached_property
    def unsortable(self) -> str:
        """A field that order_by refuses."""
        return next(name for name in reversed(self.fields) if not self._is_sorted(name))

    @cached_property
    def unfilterable(self) -> str:
        """A field that filter refuses."""
        return next(name for name in (*self.texts[::-1], *reversed(self.fields)) if not self._is_found(name))

    @property
    def sortable(self) -> tuple[str, ...]:
        """The fields that order_by takes, as in the .proto."""
        return self.resource.sortable

    def longest(self, name: str) -> int:
        """Characters that a text may have."""
        return int(self.fields[name].GetOptions().Extensions[RULES].string.max_len)

    def too_long(self, name: str) -> str:
        """A text that has one character too many."""
        return "x" * (self.longest(name) + 1)

    # What only its domain knows.

    def body(self) -> dict[str, Any]:
        """The JSON of a new one, with something in its text fields and in its free form."""
        assert self.instance.body is not None
        more: dict[str, Any] = dict(zip(self.texts, ("A text", "What it is about."), strict=False))
        more |= {self.free_form: FREE_FORM} if self.free_form else {}
        return more | self.instance.body()

    @property
    def enum(self) -> tuple[str, str, str]:
        """An enum field, the short name of the value that a new one has, and that of another value."""
        assert self.instance.move is not None
        return self.instance.move.enum

    @property
    def unset_time(self) -> str:
        """A time field that a new one has not got, and that a move sets."""
        assert self.instance.move is not None
        return self.instance.move.sets

    def move(self, tenant: Tenant, resource_id: str) -> object:
        """Give the one with this id the other enum value, and that time."""
        assert self.instance.move is not None
        return self.instance.move.do(tenant, resource_id)

    def _has_action(self, action: str) -> bool:
        """Whether an RPC is named like an action."""
        return f"{capital(action)}{self.name}" in self.methods

    # What it can.

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """What `needs` may name."""
        resource = self.resource
        declared = {
            name: bool(getattr(resource, name))
            for name in ("owner", "shown", "parent", "order", "most", "number", "states", "search", "soft_deletes")
        }
        facts = declared | {
            **{_word(kind): True for kind in self.standard},
            "tenant": self.has_tenant,
            "parent_in_path": self.parent_in_path,
            "children": bool(children_of(self)),
            "alone": self.instance.alone,
            "newest_first": resource.default_order == NEWEST_FIRST,
            "key": bool(self.key),
            "text": bool(self.texts),
            "other": len(self.texts) > 1,
            "sorted_text": bool(self.texts) and self._is_sorted(self.text) and self._is_found(self.text),
            "free_form": bool(self.free_form),
            "required": bool(self.required),
            "immutable": bool(self.immutable),
            "move": self.instance.move is not None,
            # Where something else decides too, such as a moderator, the tests of the domain try them.
            "states": resource.states is not None and all(map(self._has_action, resource.states.actions)),
            "no_secret": not any(field.GetOptions().debug_redact for field in self.message.DESCRIPTOR.fields),
        }
        return frozenset(name for name, has in facts.items() if has)


def is_text(field: Any) -> bool:
    """Whether a field is one text."""
    return bool(field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated)


def is_plain_text(field: Any) -> bool:
    """Whether it may be any text up to a length, or empty."""
    rules = field.GetOptions().Extensions[RULES].string
    bounds = {rule.name for rule, _ in rules.ListFields()} - {"example"}
    is_free = bounds == {"max_len"} and rules.max_len >= LONG
    return is_text(field) and is_free and not behaves(field, field_behavior_pb2.REQUIRED)


def behaves(field: Any, behavior: int) -> bool:
    """Whether a field has this google.api.field_behavior."""
    return behavior in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def _type(field: Any) -> str:
    return str(field.message_type.full_name) if field.message_type is not None else ""


def _word(kind: Kind) -> str:
    """`batch_get` for BatchGet."""
    return kind.name.lower()


def _described() -> Iterable[Described]:
    for service in app.SERVICES:
        resource = service.resource
        if resource is None or resource.singleton:
            continue
        instance = INSTANCES.get(resource.message.DESCRIPTOR.full_name)
        if instance is not None and instance.body is not None:
            kind = Described(service, resource, instance)
            if kind.standard.keys() >= BASIC and all(kind.standard[each].access is Access.PERMISSION for each in BASIC):
                yield kind


@cache
def resources() -> tuple[Described, ...]:
    """Every resource of a tenant that can be created, read, changed and deleted."""
    return tuple(_described())


def children_of(kind: Described) -> list[Described]:
    """What belongs to a resource."""
    return [each for each in resources() if each.resource.parent and each.resource.parent.resource is kind.resource]


def traits_of(kind: Described) -> frozenset[str]:
    """What a resource has, and what it lacks that others have."""
    every = frozenset[str]().union(*(each.capabilities for each in resources()))
    return kind.capabilities | {f"!{name}" for name in every - kind.capabilities}


def having(*needed: str, most: int = MOST, domain: str = "") -> list[Described]:
    """The resources of a domain, or of any, with these capabilities; `most` of those that differ most.

    `!owner`: without one.
    """
    wanted = {name for name in needed if not name.startswith("!")}
    unwanted = {name[1:] for name in needed if name.startswith("!")}
    there = [kind for kind in resources() if domain in ("", kind.domain)]
    left = [kind for kind in there if wanted <= kind.capabilities and not unwanted & kind.capabilities]
    chosen: list[Described] = []
    known: frozenset[str] = frozenset()
    while left and len(chosen) < most:
        best = max(left, key=partial(_adds, known))
        left.remove(best)
        chosen.append(best)
        known |= traits_of(best)
    return chosen


def _adds(known: frozenset[str], kind: Described) -> tuple[int, int, int]:
    """How much a resource has, or lacks, that is not known; of what tells most apart, of all, and how much it has."""
    new = traits_of(kind) - known
    return len({each.removeprefix("!") for each in new} & TELLING), len(new), len(kind.capabilities)
