"""How the resources of every domain are made and changed: each domain says so in tests/domains/<domain>/instances.py.

`INSTANCES` has an instance for each resource, by the full name of its message. `MUTATIONS` has an entry for each RPC
that changes something, in an order in which each can be done.
"""

import base64
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from typing import Any

from server.modules import MODULES
from tests.clients import Tenant

MARK = "belongs-to"
# The smallest PNG: one pixel.
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PERMISSION = "sites.pages.read"


# When a mutation has its turn: most at once, then what ends sessions and pseudonymises, then what ends the tenant.
def _zip() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("site.json", '{"format": 1}')
    return file.getvalue()


ZIP = _zip()
"""An archive of a site without anything."""
SOON, LATE, LAST = range(3)

Named = Mapping[str, Any]
"""Fields of requests to what names the instance."""


@dataclass(frozen=True)
class Instance:
    """How one resource is made in a tenant."""

    make: Callable[[Tenant], Named]
    body: Callable[[], dict[str, Any]] | None = None
    """The JSON of a new one that can be created; None where no request has one."""
    alone: bool = True
    """Whether a new tenant has none of them."""
    ruled: tuple[str, ...] = ()
    """Fields of JSON, in JSON's own case, whose content follows rules."""
    move: "Move | None" = None
    """A change of its state by an RPC, for lists that filter by it."""
    unshown: Callable[[Tenant], Named] | None = None
    """How one is made that its owner alone sees, where others see what `make` makes."""
    afresh: Callable[[Tenant], Named] | None = None
    """How one is made that was not there before, where `make` may name the same one again."""


@dataclass(frozen=True)
class Move:
    """A change of state."""

    do: Callable[[Tenant, str], object]
    """Make it of the one with this id."""
    enum: tuple[str, str, str]
    """An enum field, the short name of the value that a new one has, and that of the value after it."""
    sets: str
    """A time field that a new one has not got, and which it sets."""


@dataclass(frozen=True)
class Mutation:
    """How one RPC is called so that it succeeds."""

    rpc: str
    """`PageService/CreatePage`."""
    fields: Callable[[Any], dict[str, Any]] | None = None
    """The JSON of what its request holds beyond what is there, or instead of it; takes the Sweep (mutations.py)."""
    session: str = ""
    """The path of the RPC whose answer has the access token that it is called with; the owner's where this is empty."""
    before: str = ""
    """The RPC of the same service that has to be done right before, with the same request."""
    mask: tuple[str, ...] = ()
    """What an update changes where its body also holds what cannot be changed."""
    stage: int = SOON
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the call brings beside credentials, such as what a provider signs with."""


def made(tenant: Tenant, path: str, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
    """Make something over REST."""
    response = tenant.rest.post(path, body)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _declared(attribute: str) -> dict[str, Any]:
    """What each domain declares of this kind. Raises LookupError with the remedy where a domain declares nothing."""
    found = {}
    for module in MODULES:
        place = f"tests.domains.{module.name}.instances"
        try:
            found[module.name] = getattr(import_module(place), attribute)
        except (ImportError, AttributeError) as error:
            file = f"{place.replace('.', '/')}.py"
            raise LookupError(f"the domain `{module.name}` has no {attribute}: declare them in {file}") from error
    return found


def instances(declared: Mapping[str, Mapping[str, Instance]] | None = None) -> dict[str, Instance]:
    """Every instance by the full name of its message. Raises LookupError for one that is declared twice or astray."""
    every: dict[str, Instance] = {}
    for domain, of_domain in (_declared("INSTANCES") if declared is None else declared).items():
        for name, instance in of_domain.items():
            if not name.startswith(f"plinth.{domain}.v1."):
                raise LookupError(f"{name} is declared in tests/domains/{domain}/instances.py, of another domain")
            if name in every:
                raise LookupError(f"{name} is declared twice")
            every[name] = instance
    return every


def mutations(declared: Mapping[str, Iterable[Mutation]] | None = None) -> dict[str, Mutation]:
    """Every mutation by the path of its RPC, in the order of their turns. Raises LookupError for one declared twice."""
    every: dict[str, Mutation] = {}
    for domain, of_domain in (_declared("MUTATIONS") if declared is None else declared).items():
        for mutation in of_domain:
            path = f"/plinth.{domain}.v1.{mutation.rpc}"
            if path in every:
                raise LookupError(f"{path} is declared twice in tests/domains/{domain}/instances.py")
            every[path] = mutation
    return dict(sorted(every.items(), key=lambda entry: entry[1].stage))
