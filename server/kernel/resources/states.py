"""States: the changes of a state that a resource declares are the only ones, whichever RPC makes them."""

import re
from collections.abc import Iterable
from typing import Generic

from google.protobuf.message import Message

from server.kernel.messages.fields import descriptor_of, enum_of, value_of
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.problems import StateForbids
from server.kernel.resources.resource import M, Resource, States


class StateMachine(Generic[M]):
    """The states of one resource."""

    def __init__(self, resource: Resource[M], states: States) -> None:
        descriptor = descriptor_of(resource.message)
        self._states = states
        self._type = resource_type_of(resource.message)
        kind = enum_of(descriptor.fields_by_name[states.field])
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.name).upper() + "_"
        self._names = {value.number: value.name.removeprefix(prefix) for value in kind.values}

    def begin(self, message: M) -> None:
        """Put a new resource that names no state into the first one."""
        if not self._of(message):
            setattr(message, self._states.field, self._states.first[0])

    def act(self, message: M, action: str) -> None:
        """Put a resource into the state to which an action leads. Raises StateForbids where it is not allowed."""
        sources, target = self._states.actions[action]
        if self._of(message) not in sources:
            raise self._forbidden(message, f"It cannot be changed to {self._names[target]}", self._allowed(message))
        setattr(message, self._states.field, target)

    def check(self, message: M, before: M | None) -> None:
        """Raise StateForbids for a state in which a resource cannot begin, or a change that no action makes."""
        state = self._of(message)
        if before is None:
            if state not in self._states.first:
                raise self._forbidden(message, "It cannot begin so", self._states.first)
        elif state != self._of(before) and state not in self._allowed(before):
            raise self._forbidden(before, f"It cannot be changed to {self._names[state]}", self._allowed(before))

    def _of(self, message: Message) -> int:
        return int(value_of(message, self._states.field))

    def _allowed(self, message: M) -> tuple[int, ...]:
        """The states to which this one can be changed."""
        state = self._of(message)
        targets = (target for sources, target in self._states.actions.values() if state in sources)
        return tuple(dict.fromkeys(targets))

    def _forbidden(self, message: M, fault: str, allowed: Iterable[int]) -> StateForbids:
        state = self._names[self._of(message)]
        names = [self._names[each] for each in allowed]
        choice = f"{' or '.join(names)} is allowed" if names else "nothing is allowed any more"
        return StateForbids(
            f"{fault}: it is {state}, and {choice}.",
            metadata={
                "resource_type": self._type,
                "resource": str(value_of(message, "id")),
                "state": state,
                "allowed": ",".join(names),
            },
        )
