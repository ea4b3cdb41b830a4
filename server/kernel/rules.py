"""Rules: whether a message satisfies the rules of its .proto, and the bounds of its free-form fields."""

from collections.abc import Iterable, Sequence

import protovalidate
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from server.enum_names import told
from server.kernel.messages import free_form
from server.kernel.messages.fields import descriptor_of, enum_of, enum_values, message_type_of
from server.kernel.problems import Violation, broken_rules

DEFINED_ONLY = "enum.defined_only"
_validator = protovalidate.Validator()


def check(message: Message, further: Iterable[Violation] = ()) -> None:
    """Raise RuleViolated with every violated rule, and with further violations."""
    violations = [*further]
    violations += [_violation(message, violation) for violation in _validator.collect_violations(message)]
    violations += free_form.violations(message)
    if violations:
        raise broken_rules(violations)


def _violation(message: Message, found: protovalidate.Violation) -> Violation:
    """A violated rule with the path of the field: names, and the index or key in a repeated field or map."""
    proto = found.proto
    steps = [(step.field_name, step.subscript) for step in proto.field.elements] if proto.field else []
    path = ".".join(str(name) if place is None else f"{name}[{place.value}]" for name, place in steps)
    text = proto.message or proto.rule_id
    if proto.rule_id == DEFINED_ONLY:
        text = f"has to be one of {told(_values_at(descriptor_of(message), [str(name) for name, _ in steps]))}"
    return Violation(path, text, proto.rule_id)


def _values_at(message: Descriptor, names: Sequence[str]) -> dict[str, int]:
    """The values of the enum that a field holds."""
    for name in names[:-1]:
        message = message_type_of(message.fields_by_name[name])
    return enum_values(enum_of(message.fields_by_name[names[-1]]))
