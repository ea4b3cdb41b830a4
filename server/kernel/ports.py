"""Ports: what the kernel, or a domain, needs of another domain that it does not know.

A domain offers an implementation in its module.py (`offers`). Exactly one domain offers each.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Protocol

from server.data.statements import Row
from server.data.transactions import Transaction, WriteTransaction
from server.kernel.call import Call, Principal
from server.kernel.guard.blocks import Blocked
from server.kernel.rates import Rate


class Part(Protocol):
    """Something that goes on beside the calls of a process, such as a thread that writes what was counted."""

    def start(self) -> None:
        """Begin."""

    def close(self) -> None:
        """Do the last of it, and end."""


class ApiKeys(Protocol):
    """The API keys there are."""

    def is_key(self, secret: str) -> bool:
        """Whether a credential looks like an API key, and not like an access token."""

    def verify(self, secret: str) -> Principal:
        """Whom an API key stands for. Raises Unauthenticated. Whether it still counts is told with its access."""


class CallCounter(Protocol):
    """Counts the calls of API keys."""

    def note(self, principal: Principal, method: str, *, succeeded: bool) -> None:
        """One call has ended. Never waits and never fails."""


class Usage(CallCounter, Part, Protocol):
    """Counts them, and writes the counts beside the calls."""


class StoredBlocks(Protocol):
    """The blocked addresses."""

    def load(self) -> list[Blocked]:
        """Those that hold now."""

    def block(self, written: str) -> None:
        """Block a network for a while, since too many guesses came from there."""


class TenantRates(Protocol):
    """What differs in a tenant."""

    def of(self, tenant_id: str) -> Mapping[str, Rate]:
        """The tenant's own rates by class."""


class Memberships(Protocol):
    """Who belongs where."""

    def of_user(self, transaction: Transaction, user_id: str) -> list[Row]:
        """Where a user belongs, the oldest membership first: tenant_id, roles, subdomain, name. At most 100."""

    def of_user_in(self, transaction: Transaction, user_id: str, tenant_id: str) -> Row | None:
        """A user's place in one tenant, or None."""

    def of_user_at(self, transaction: Transaction, user_id: str, subdomain: str) -> Row | None:
        """A user's place in the tenant of this subdomain, or None."""

    def sign_up_policy(self, transaction: WriteTransaction, subdomain: str) -> Row | None:
        """Of a tenant: id, sign_up_open, sign_up_conflict_visible; None when there is no such tenant."""

    def join(self, transaction: WriteTransaction, tenant_id: str, user_id: str) -> None:
        """Make a user a member of a tenant."""


class UserGrants(Protocol):
    """What people may do."""

    def of_users(self, call: Call, user_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """The permissions that each of these users has in the call's tenant now. One statement for all of them."""


class KeyGrants(Protocol):
    """What API keys hold."""

    def of(self, call: Call, api_key_id: str) -> Row | None:
        """Name and permissions of an API key of the call's tenant; None where it is absent, expired or revoked."""


class Answer(Protocol):
    """What came of sending a message to a receiver."""

    @property
    def duration(self) -> timedelta:
        """How long it took."""

    @property
    def status_code(self) -> int:
        """The status that was answered; 0 when none was."""

    @property
    def error(self) -> str:
        """What went wrong when no status was answered: `timeout`, `connection refused` ..."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that were answered."""

    @property
    def body(self) -> str:
        """The beginning of the body that was answered."""


class Sender(Protocol):
    """Sends messages to receivers on the internet, and to nobody else."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST a message. Never raises for what a receiver does, and ends within its own time limit."""


Senders = Callable[[], AbstractAsyncContextManager[Sender]]
"""Makes a sender for the event loop that is running; it ends with the context."""


class StatisticsStore(Protocol):
    """Where processes tell each other about their caches. Every method raises StoreAway."""

    def publish(self, name: str, text: str) -> None:
        """Say what a process has to tell now."""

    def read(self) -> dict[str, str]:
        """What every process said last, by its name."""

    def forget(self, names: Collection[str]) -> None:
        """Drop what these processes said."""


@dataclass(frozen=True, slots=True)
class Offers:
    """What one domain offers; None is what it does not."""

    api_keys: ApiKeys | None = None
    usage: Usage | None = None
    blocks: StoredBlocks | None = None
    tenant_rates: TenantRates | None = None
    memberships: Memberships | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """What all domains together offer."""

    api_keys: ApiKeys
    usage: Usage
    blocks: StoredBlocks
    tenant_rates: TenantRates
    memberships: Memberships


def join_offers(offers: Mapping[str, Offers]) -> Ports:
    """The ports, by what each domain offers. Raises LookupError for a port that none offers, or two do."""
    return Ports(**{field.name: _the_one(field.name, offers) for field in fields(Ports)})


def _the_one(port: str, offers: Mapping[str, Offers]) -> Any:
    found = {domain: offer for domain, each in offers.items() if (offer := getattr(each, port)) is not None}
    if len(found) != 1:
        raise LookupError(f"the port `{port}` is offered by {' and '.join(sorted(found)) or 'no domain'}")
    return next(iter(found.values()))
