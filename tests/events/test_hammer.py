from server.data.events import Position
from tests.clients import another_tenant, new_tenant
from tests.events.hammer import Outcome, Reader, faults, hammer
from tests.stack import Stack


def test_readers_skip_nothing_and_see_nothing_twice_while_32_writers_write(stack: Stack) -> None:
    first = new_tenant(stack)
    outcome = hammer(stack, [first, another_tenant(first)], seconds=1.5)
    assert outcome.written > 50
    assert outcome.failed > 0
    assert faults(outcome) == []


def test_a_fault_is_found() -> None:
    """The check itself bites."""
    reader = Reader("", Position(0, 0), 1)
    reader.seen.update(["a", "a"])
    reader.disorder.append("a")
    outcome = Outcome(3, 0, {"a": "t", "b": "t"}, [reader])
    assert faults(outcome) == ["not one event per write", "1 skipped", "1 twice", "1 out of order"]
