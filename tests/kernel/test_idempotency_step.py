"""idempotency: a key is the same on machines that sign with different secrets, as they do during a rotation."""

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page

from server.access import ACCESS_CHANGED
from server.kernel.caching.generations import Generations
from server.kernel.call import Call
from server.kernel.chain import serialise
from server.kernel.problems import RuleViolated
from server.kernel.steps.idempotency import Idempotency
from server.kernel.steps.transaction import InTransaction
from server.secrets import Secrets
from tests.clients import unique
from tests.contract.scratch import administrator
from tests.kernel.calls import CREATE, Context
from tests.kernel.database import Database, connections
from tests.kernel.test_transaction_step import Quiet
from tests.stack import Stack

OLD, NEW = b"o" * 32, b"n" * 32
# Machines that may stand side by side while the new secret comes in.
ROTATION = {
    "accepts the new one": Secrets(OLD, ahead=(NEW,)),
    "signs with the new one": Secrets(NEW, behind=(OLD,)),
}
BESIDE = [*permutations(ROTATION, 2), *((name, name) for name in ROTATION)]


@pytest.fixture(scope="module")
def transaction(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTransaction]:
    """The step around it, with the stack's own table of answers."""
    generations = Generations(tmp_path_factory.mktemp("host") / "generations")
    generations.open()
    with connections(administrator(stack), size=1) as pool:
        database = Database(pool)
        yield InTransaction(database, database, Quiet(), generations, ACCESS_CHANGED)


class Pages:
    """Creates pages, each of which is another one."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, one: Call, request: Any) -> Message:
        self.made += 1
        one.changes_nothing = True
        return Page(id=f"page-{self.made}", slug=request.page.slug)


class Machine:
    """One machine of the deployment."""

    def __init__(self, secrets: Secrets, transaction: InTransaction, pages: Pages) -> None:
        self._create = transaction.unary(CREATE, Idempotency(secrets).unary(CREATE, pages))

    def create(self, key: str, slug: str = "about") -> tuple[Page, bool]:
        """What a call is answered, and whether it was answered before."""
        one = Call(CREATE, Context(idempotency_key=key))
        answer = self._create(one, CreatePageRequest(page=Page(slug=slug)))
        return Page.FromString(serialise(answer)), one.is_replay


@pytest.mark.parametrize(("first", "second"), BESIDE)
def test_a_call_is_answered_once_on_whichever_machines_it_arrives(
    transaction: InTransaction, first: str, second: str
) -> None:
    pages, key = Pages(), unique("key")
    machines = [Machine(ROTATION[name], transaction, pages) for name in (first, second, first)]
    answers = [machine.create(key) for machine in machines]
    assert answers == [(Page(id="page-1", slug="about"), replayed) for replayed in (False, True, True)]
    # What a call did before its key turned out to be taken was rolled back.
    with pytest.raises(RuleViolated) as caught:
        machines[1].create(key, slug="another")
    assert caught.value.reason_name == "IDEMPOTENCY_KEY_REUSED"
    assert not machines[1].create(unique("key"))[1]
