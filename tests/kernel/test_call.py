"""A call gives what its chain has put into it, and nothing in its place."""

import pytest

from server.data.transactions import Scope
from server.kernel.policy import MethodPolicy
from tests.kernel.calls import GET, SIGN_UP, call
from tests.kernel.database import Database, scratch
from tests.kernel.database import connections as connected
from tests.stack import Stack


@pytest.mark.parametrize("method", [GET, SIGN_UP])
def test_a_call_that_nobody_authenticated_has_no_caller(method: MethodPolicy) -> None:
    """A handler in the wrong chain fails, instead of running in nobody's name."""
    one = call(method)
    assert one.scope == Scope()
    with pytest.raises(LookupError, match="no authenticate step"):
        _ = one.caller


def test_a_read_has_nothing_to_write_with(stack: Stack) -> None:
    one = call(GET)
    with scratch(stack) as dsn, connected(dsn, size=1) as pool, Database(pool).read(Scope()) as one.transaction:
        assert one.reads is one.transaction
        with pytest.raises(TypeError, match="a read changes nothing"):
            _ = one.writes


def test_a_write_reads_as_well(stack: Stack) -> None:
    one = call(GET)
    with scratch(stack) as dsn, connected(dsn, size=1) as pool, Database(pool).write(Scope()) as one.transaction:
        assert one.reads is one.writes is one.transaction
