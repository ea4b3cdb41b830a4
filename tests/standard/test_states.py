"""States (`Resource.states`): every pair of a state and an action, and of two states."""

from itertools import product
from typing import Any

import pytest

from server.kernel.policy import Kind
from server.kernel.resources.service import camel as capital
from tests.standard.doors import Door, camel, refusal
from tests.standard.resources import Described

needs = pytest.mark.needs
pytestmark = needs("states")


class Machine:
    """The states of a resource as its callers see them."""

    def __init__(self, kind: Described) -> None:
        states = kind.resource.states
        assert states is not None
        self.states = states
        self.field = camel(states.field)
        field: Any = kind.message.DESCRIPTOR.fields_by_name[states.field]
        values = field.enum_type.values_by_number
        self.names = {number: str(value.name) for number, value in values.items()}
        self._prefix = f"{states.field.upper()}_"
        self.numbers = sorted({*states.first, *(target for _, target in states.actions.values())})

    def short(self, state: int) -> str:
        """As problems call it."""
        return self.names[state].removeprefix(self._prefix)

    def allowed(self, state: int) -> list[int]:
        """The states that one in this state can get."""
        return list(dict.fromkeys(to for sources, to in self.states.actions.values() if state in sources))

    def put(self, door: Door, state: int) -> dict[str, Any]:
        """A new one in a state: it begins there, or some actions lead to it."""
        if state in self.states.first:
            first = self.states.first[0]
            return door.create(**({} if state == first else {self.field: self.names[state]}))
        action, source = next(
            (name, sources[0]) for name, (sources, target) in self.states.actions.items() if target == state
        )
        return act(door, self.put(door, source)["id"], action)


def act(door: Door, resource_id: str, action: str) -> dict[str, Any]:
    """Call the RPC of an action."""
    rpc = f"{capital(action)}{door.kind.name}"
    takes_reason = "reason" in door.kind.methods[rpc].descriptor.input_type.fields_by_name
    reason = {"reason": "Planted"} if takes_reason else {}
    return door.do(rpc, {f"{door.kind.singular}_id": resource_id} | reason)


@pytest.fixture
def machine(kind: Described) -> Machine:
    """The states of the resource."""
    return Machine(kind)


def test_one_that_names_no_state_begins_in_the_first(door: Door, machine: Machine) -> None:
    assert door.create()[machine.field] == machine.names[machine.states.first[0]]


def test_an_action_is_done_where_it_is_allowed_and_nowhere_else(door: Door, machine: Machine) -> None:
    for state, (action, (sources, target)) in product(machine.numbers, machine.states.actions.items()):
        made = machine.put(door, state)
        if state in sources:
            done = act(door, made["id"], action)
            assert (done[machine.field], done["etag"] != made["etag"]) == (machine.names[target], True)
            continue
        with refusal("STATE_FORBIDS") as refused:
            act(door, made["id"], action)
        why = refused.problem.metadata
        assert (why["state"], why["resource"]) == (machine.short(state), made["id"])
        assert why["allowed"] == ",".join(map(machine.short, machine.allowed(state)))
        assert door.get(made["id"]) == made


def test_an_update_changes_the_state_as_some_action_does(door: Door, machine: Machine, kind: Described) -> None:
    assert Kind.UPDATE in kind.standard
    for state, target in product(machine.numbers, machine.numbers):
        made = machine.put(door, state)
        if machine.field not in kind.fields and state != target:
            with refusal("RULE_VIOLATED"):
                door.update(made["id"], {machine.field: machine.names[target]})
        elif state == target or target in machine.allowed(state):
            changed = door.update(made["id"], {machine.field: machine.names[target]})
            assert changed[machine.field] == machine.names[target]
        else:
            with refusal("STATE_FORBIDS"):
                door.update(made["id"], {machine.field: machine.names[target]})
            assert door.get(made["id"]) == made
