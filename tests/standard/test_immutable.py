"""IMMUTABLE (AIP-203): what keeps the value with which it was created."""

from typing import Any

import pytest

from tests.standard.doors import Door, camel, new_parent, refusal, snake
from tests.standard.resources import NOBODY

needs = pytest.mark.needs


@needs("immutable", "text")
def test_a_value_is_kept_and_may_be_sent_back(door: Door) -> None:
    kind = door.kind
    made = door.create()
    for name in kind.immutable:
        field = kind.message.DESCRIPTOR.fields_by_name[snake(name)]
        with refusal("RULE_VIOLATED") as refused:
            door.update(made["id"], {name: another(door, field, made[name]), kind.text: "Changed"})
        assert set(refused.problem.violations) == {door.named(f"{kind.singular}.{snake(name)}")}
        assert refused.problem.rules == ("immutable",)
        assert door.get(made["id"])["etag"] == made["etag"]
    same = {name: made[name] for name in kind.immutable}
    assert door.update(made["id"], same | {kind.text: "Changed"})[kind.text] == "Changed"


def another(door: Door, field: Any, value: Any) -> Any:
    """Another value of a field, which it could have had."""
    parent = door.kind.resource.parent
    if parent is not None and field.name == parent.field:
        return new_parent(door.tenant, door.kind)
    if field.name.endswith("_id"):
        return NOBODY
    if field.enum_type is not None:
        return next(each.name for each in field.enum_type.values if each.number and each.name != value)
    if isinstance(value, int):
        return value + 1
    assert isinstance(value, str), f"say here what another {camel(field.name)} is"
    return f"{value}x"
