"""Ports: interfaces through which the kernel, or a domain, uses another domain without knowing it.

A domain offers an implementation in its module.py (`offers`). Exactly one domain offers each port.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Protocol

from google.protobuf.message import Message
from plinth.types.v1.explanation_pb2 import Explanation

from server.data.statements import Row
from server.data.transactions import Transaction, WriteTransaction
from server.kernel.call import Call, Principal
from server.kernel.guard.applied_limits import TenantRates
from server.kernel.guard.blocks import Blocked
from server.kernel.policy import MethodPolicy
from server.kernel.sinks import Sink


class Part(Protocol):
    """Something that runs beside the calls of a process, such as a thread that writes counts."""

    def start(self) -> None:
        """Start it."""

    def close(self) -> None:
        """Do the remaining work, and stop."""


class ApiKeys(Protocol):
    """The stored API keys."""

    def is_key(self, secret: str) -> bool:
        """Whether a credential looks like an API key rather than an access token."""

    def verify(self, secret: str) -> Principal:
        """The principal of an API key. Raises Unauthenticated.

        Loading its access then checks whether it is still valid.
        """


class CallCounter(Protocol):
    """Counts the calls of API keys."""

    def note(self, principal: Principal, method: str, *, succeeded: bool) -> None:
        """Count a call that has ended. Never blocks and never fails."""


class Usage(CallCounter, Part, Protocol):
    """A call counter that also writes the counts."""


class StoredBlocks(Protocol):
    """The stored blocks of addresses."""

    def load(self) -> list[Blocked]:
        """The blocks in force now."""

    def block(self, written: str) -> None:
        """Block a network for a while after too many guesses from there."""


class Tickets(Protocol):
    """The tickets that were used to open a stream."""

    def use(self, ticket_id: str, until: float) -> bool:
        """Mark a ticket as used until it expires, a Unix time. False if it was used before."""


class Memberships(Protocol):
    """The memberships of users in tenants."""

    def of_user(self, transaction: Transaction, user_id: str) -> list[Row]:
        """The memberships of a user, oldest first: tenant_id, roles, subdomain, name. At most 100."""

    def of_user_in(self, transaction: Transaction, user_id: str, tenant_id: str) -> Row | None:
        """The membership of a user in one tenant, or None."""

    def of_user_at(self, transaction: Transaction, user_id: str, subdomain: str) -> Row | None:
        """The membership of a user in the tenant with this subdomain, or None."""

    def among(self, transaction: WriteTransaction, tenant_id: str, user_ids: Sequence[str]) -> set[str]:
        """Those of these users who are members of a tenant, which they cannot leave until the transaction ends."""

    def with_roles(self, transaction: Transaction, tenant_id: str, roles: Sequence[str]) -> list[str]:
        """The members of a tenant who hold one of these roles, oldest membership first. At most 100."""

    def after(
        self, transaction: Transaction, tenant_id: str, user_id: str, roles: Sequence[str], most: int
    ) -> list[str]:
        """The members of a tenant behind a user, in the order of their ids; with roles, those who hold one of them.

        An empty `user_id` begins with the first one.
        """

    def count(self, transaction: Transaction, tenant_id: str, roles: Sequence[str]) -> int:
        """How many members a tenant has; with roles, how many hold one of them."""

    def sign_up_policy(self, transaction: WriteTransaction, subdomain: str) -> Row | None:
        """Id, sign_up_open and sign_up_conflict_visible of a tenant; None if there is no such tenant."""

    def tenants_of(self, transaction: Transaction, user_id: str) -> list[str]:
        """All tenants of a user, oldest membership first; deleted and suspended ones too."""

    def keep_owners(self, transaction: WriteTransaction, tenant_ids: Sequence[str], user_id: str) -> None:
        """Raise StateForbids if one of the tenants would be left without an owner. A deleted tenant needs none.

        The scope of the transaction has to reach the tenants.
        """

    def join(self, transaction: WriteTransaction, tenant_id: str, user_id: str) -> None:
        """Make a user a member of a tenant."""

    def add(self, transaction: WriteTransaction, tenant_id: str, user_id: str, roles: Sequence[str]) -> None:
        """Make a user a member with these roles, or add them to those of a member. Absent roles are left out.

        The scope of the transaction has to reach the tenant. The caller drops what is cached of access in it.
        """

    def lock_roles(self, transaction: WriteTransaction, tenant_id: str, user_id: str) -> list[str] | None:
        """The roles of a member, locked until the transaction ends. None for a user who is not a member."""

    def set_roles(self, transaction: WriteTransaction, tenant_id: str, user_id: str, roles: Sequence[str]) -> None:
        """Give a member these roles instead of the former ones. Raises StateForbids for the last owner.

        The roles were locked, and exist. The caller drops what is cached of access in the tenant.
        """

    def remove(self, transaction: WriteTransaction, tenant_id: str, user_id: str) -> None:
        """End a membership. Raises StateForbids for the last owner.

        The caller drops what is cached of access in the tenant.
        """

    def place(self, transaction: Transaction, tenant_id: str) -> Row | None:
        """Name and subdomain of a tenant in use, or None. The scope of the transaction has to reach it."""

    def roles_named(self, transaction: WriteTransaction, tenant_id: str, names: Sequence[str]) -> list[Row]:
        """Name and permissions of the roles of a tenant with these names, locked against deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How a person is reached, and what they have chosen in a tenant. A text is empty where there is nothing."""

    email: str
    """The address that the person has proven to be theirs."""
    language: str
    time_zone: str


class Contacts(Protocol):
    """How people are reached."""

    def of(self, transaction: Transaction, tenant_id: str, user_ids: Sequence[str]) -> Mapping[str, Contact]:
        """Those of users with an account, by id. The scope of the transaction has to reach the tenant."""


SECRET_PLACE = "{secret}"  # noqa: S105 - what stands for one
"""Stands in the text of a mail for its secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A message to one address."""

    to: str
    subject: str
    text: str
    """Plain text. `{secret}` in it stands for the secret, which is stored sealed and shown nowhere but in the mail."""
    secret: str = field(default="", repr=False)
    """The code of a link, or empty. A message with one is sent before others."""
    user_id: str = ""
    """The user whose account it is about."""
    tenant_id: str = ""
    """Empty for mail about an account, which belongs to no tenant."""
    lifetime: timedelta | None = None
    """How long it is tried; None for that of all mail."""


class Mails(Protocol):
    """The queue of mail."""

    def add(self, transaction: WriteTransaction, mail: Mail) -> None:
        """Queue a message. It commits with the transaction, whose scope has to reach its tenant or the platform."""


class UserGrants(Protocol):
    """The permissions of users."""

    def of_users(self, call: Call, user_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """The current permissions of each of these users in the call's tenant. One statement for all of them."""


class KeyGrants(Protocol):
    """The permissions of API keys."""

    def of(self, call: Call, api_key_id: str) -> Row | None:
        """Name, permissions and paces of an API key of the call's tenant; None if it is absent, expired or revoked.

        Paces are ids and calls per minute of the key and its ancestors with a rate limit of their own.
        """


class Answer(Protocol):
    """The result of sending a message to a receiver."""

    @property
    def duration(self) -> timedelta:
        """The time that the attempt took."""

    @property
    def status_code(self) -> int:
        """The status of the answer; 0 without an answer."""

    @property
    def error(self) -> str:
        """The cause when there was no answer: `timeout`, `connection refused` ..."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the answer."""

    @property
    def body(self) -> str:
        """The beginning of the body of the answer."""


class Sender(Protocol):
    """Sends messages to receivers on the internet, and only there."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST a message. Never raises for a fault of the receiver, and ends within its own timeout."""


Senders = Callable[[], AbstractAsyncContextManager[Sender]]
"""Makes a sender for the running event loop. The sender is closed with the context."""


class Reference(Protocol):
    """What the contract says in words."""

    def comments(self) -> Mapping[str, str]:
        """The comments of the contract by full name (comments.py). Reads the descriptor set each time."""

    def openapi(self) -> bytes:
        """The OpenAPI document as JSON. Made each time, in about 0.1 s."""


class CacheExplainer(Protocol):
    """Explains why an answer is, or is not, served from the cache."""

    def explain(self, method: MethodPolicy, tenant_id: str, caller_id: str, request: Message) -> Explanation:
        """The steps of the decision, as this process would take it."""


class StatisticsStore(Protocol):
    """The store in which processes share statistics of one kind. Every method raises StoreAway."""

    def publish(self, name: str, text: str) -> None:
        """Store the current statistics of a process."""

    def read(self) -> dict[str, str]:
        """The last published statistics of every process, by its name."""

    def forget(self, names: Collection[str]) -> None:
        """Delete the statistics of these processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPreferences:
    """What a tenant has chosen for its reports and its mail. A text is empty where it has chosen nothing."""

    time_zone: str = ""
    """Of its reports."""
    language: str = ""
    """Of people who have chosen none (BCP 47)."""
    sender_name: str = ""
    """In front of the address that its mail comes from."""
    reply_to: str = ""
    """The address that answers to its mail go to."""
    mail_footer: str = ""
    """Plain text at the end of its mail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlace:
    """The tenant whose site is at a host name."""

    tenant_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteBranding:
    """What a tenant's site looks like."""

    logo_url: str
    favicon_url: str
    primary_color: str
    secondary_color: str
    accent_color: str
    heading_font: str
    body_font: str


class SitePlaces(Protocol):
    """Where the sites of tenants are."""

    def at(self, hostname: str) -> SitePlace | None:
        """The tenant in use whose site is at a host name, or None."""

    def branding(self, transaction: Transaction, tenant_id: str) -> SiteBranding:
        """The branding of a tenant. The scope of the transaction has to reach it."""


class WorkFile(Sink, Protocol):
    """A file on its way into the store."""

    id: str
    """What it is stored under."""
    size: int
    """Its bytes until now."""


class WorkFiles(Protocol):
    """Files that operations take and make, kept for a week. Every method may block, and raises Unavailable."""

    def begin(self, tenant_id: str, most_bytes: int) -> WorkFile:
        """Begin to store one. Its `write` raises Malformed if there is more."""

    def read(self, tenant_id: str, file_id: str, part: tuple[int, int] | None = None) -> Iterator[bytes]:
        """The bytes of one, or those from one place up to another. Raises FileNotFoundError."""

    def delete(self, tenant_id: str, file_id: str) -> None:
        """Remove one, if it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedAsset:
    """A public asset to which content links."""

    id: str
    filename: str
    folder: str
    alt: str
    content_type: str
    size: int
    sha256: str
    blob_id: str
    """Of its bytes."""
    seal: str
    """Says that its bytes are clean (UploadAsset)."""


class LinkedAssets(Protocol):
    """The public assets to which content links."""

    def relinked(self, text: str, tenant_id: str, new: Callable[[str], str | None]) -> str:
        """A text in which addresses of a tenant's assets are others: `new` takes the id of one; None leaves it."""

    def find(self, transaction: Transaction, tenant_id: str, ids: Sequence[str]) -> list[LinkedAsset]:
        """Those of these that are public and there, by id. The scope of the transaction has to reach the tenant."""

    def read(self, tenant_id: str, asset: LinkedAsset) -> Iterator[bytes]:
        """The bytes of one. May block."""


@dataclass(frozen=True, slots=True)
class Offers:
    """The ports that one domain offers; None for the others."""

    api_keys: ApiKeys | None = None
    usage: Usage | None = None
    blocks: StoredBlocks | None = None
    tenant_rates: TenantRates | None = None
    memberships: Memberships | None = None
    tickets: Tickets | None = None
    mails: Mails | None = None
    contacts: Contacts | None = None
    tenant_preferences: Callable[[Transaction, str], TenantPreferences] | None = None
    """Those of the tenant with this id. The scope of the transaction has to reach it."""
    site_places: SitePlaces | None = None
    work_files: WorkFiles | None = None
    linked_assets: LinkedAssets | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of all domains together."""

    api_keys: ApiKeys
    usage: Usage
    blocks: StoredBlocks
    tenant_rates: TenantRates
    memberships: Memberships
    tickets: Tickets
    mails: Mails
    contacts: Contacts
    tenant_preferences: Callable[[Transaction, str], TenantPreferences]
    site_places: SitePlaces
    work_files: WorkFiles
    linked_assets: LinkedAssets


def join_offers(offers: Mapping[str, Offers]) -> Ports:
    """The ports from the offers of all domains. Raises LookupError for a port that no domain offers, or several do."""
    return Ports(**{each.name: _the_one(each.name, offers) for each in fields(Ports)})


def _the_one(port: str, offers: Mapping[str, Offers]) -> Any:
    found = {domain: offer for domain, each in offers.items() if (offer := getattr(each, port)) is not None}
    if len(found) != 1:
        raise LookupError(f"the port `{port}` is offered by {' and '.join(sorted(found)) or 'no domain'}")
    return next(iter(found.values()))
