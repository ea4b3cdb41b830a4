"""Calls that a provider signs: what a domain declares to verify them, and what it gets.

A policy names the adapter (`provider_signature`), and the module of a domain declares it (`Module.inbound`). The
adapter tells whose call it is; the call then runs as any other, bound to that tenant.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import Message

from server.kernel.policy import Access, MethodPolicy, PolicyError
from server.kernel.problems import Unauthenticated


class BadSignature(Unauthenticated):
    """The signature of the call is not valid."""

    # Providers send from few addresses for all tenants. One tenant with a wrong secret must not have them blocked.
    is_guess = False


class Sender(NamedTuple):
    """Who sent a call."""

    tenant_id: str
    key_id: str
    """What it was verified with, such as a connection: a UUID. The audit log names it as the actor."""


@dataclass(frozen=True, slots=True)
class InboundCall:
    """What an adapter verifies."""

    headers: Mapping[str, str]
    """By lower-case name."""
    request: Message
    """The fields of path and query, and the body."""
    body: bytes
    """The body exactly as it was sent, before it is inflated. Empty for an RPC without a raw body."""
    now: float
    """The Unix time."""
    inflate: Callable[[], bytes] = field(repr=False)
    """Inflates the body within the limit of the policy, for whom the body itself names. Raises Malformed."""

    def header(self, name: str) -> str:
        """The value of a header; empty if it was not sent."""
        return str(self.headers.get(name, ""))


Verify = Callable[[InboundCall], Sender]
"""Raises BadSignature. May block. Compares in constant time, and does nothing in proportion to what is not verified."""


@dataclass(frozen=True, slots=True)
class InboundSignature:
    """An adapter: how the calls of one provider are verified."""

    name: str
    """As policies name it in `provider_signature`."""
    verify: Verify


def verifiers(
    declared: Mapping[str, Iterable[InboundSignature]], methods: Iterable[MethodPolicy]
) -> dict[str, InboundSignature]:
    """The adapters by name; `declared` are those of each domain.

    Raises PolicyError for one that is declared twice or used by no RPC, and for an RPC whose adapter is not declared.
    """
    signed = [method for method in methods if method.access is Access.PROVIDER_SIGNATURE]
    used, found, faults = {method.permission for method in signed}, dict[str, InboundSignature](), list[str]()
    for domain, adapters in declared.items():
        for adapter in adapters:
            if adapter.name in found:
                faults.append(
                    f"the module `{domain}` declares the signature `{adapter.name}`, which is declared already"
                )
            elif adapter.name not in used:
                faults.append(
                    f"the module `{domain}` declares the signature `{adapter.name}`, which no RPC names: name it in "
                    f"`provider_signature` of a policy, or leave it out"
                )
            found[adapter.name] = adapter
    faults += [
        f"{method.path} names the provider_signature `{method.permission}`, which no module declares: add an "
        f"InboundSignature of that name to `inbound` in server/domains/{method.domain}/module.py"
        for method in signed
        if method.permission not in found
    ]
    if faults:
        raise PolicyError(faults)
    return found
