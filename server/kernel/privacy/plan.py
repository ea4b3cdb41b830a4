"""The decisions of all domains together, and the resources that belong to persons."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plinth.policy.v1 import policy_pb2

from server.data.events import NO_TENANT
from server.kernel.messages.fields import option_of
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.privacy.declaration import Decision, Erase, Export, NotPersonal, Pseudonymise, Remove
from server.kernel.privacy.erasure import Owned
from server.kernel.resources import AnyService

PLACEHOLDER = re.compile(r"{(\w+)}")
Deed = Remove | Pseudonymise | Erase
"""A decision that erases something."""


@dataclass(frozen=True)
class Privacy:
    """What becomes of a person's data in all domains."""

    decisions: tuple[Decision, ...]
    exports: tuple[Export, ...]
    services: tuple[type[AnyService], ...]

    @property
    def owned(self) -> tuple[Owned, ...]:
        """The resources that belong to persons."""
        resources = (service.resource for service in self.services if service.resource is not None)
        return tuple(
            Owned(resource_type_of(resource.message), resource.table, resource.owner)
            for resource in resources
            if resource.owner and not resource.keys_own
        )

    def deeds(self, tenant_id: str) -> tuple[Deed, ...]:
        """What erases a person in a tenant, in order; NO_TENANT for what the logs hold outside of any.

        Rows that lead to others come after them: functions look for what belongs to the rows of the person, and so do
        decisions about rows below those.
        """
        found = [each for each in self._deeds() if _reaches(each, tenant_id) and not _ends_access(each)]
        return tuple(sorted(found, key=_turn))

    @property
    def endings(self) -> tuple[Deed, ...]:
        """What takes a person's access to a tenant away."""
        return tuple(each for each in self._deeds() if _ends_access(each))

    @property
    def of_account(self) -> tuple[Deed, ...]:
        """What erases the account of a person, which belongs to no tenant."""
        return tuple(each for each in self._deeds() if "tenant_id" not in each.table.c)

    def tags(self, tenant_id: str) -> list[str]:
        """The tags of cached answers that show what belongs to persons of a tenant."""
        found = {
            tag for service in self.services if service.resource and service.resource.owner for tag in _tags(service)
        }
        return sorted(tag.replace("{tenant_id}", tenant_id) for tag in found)

    def _deeds(self) -> Iterator[Deed]:
        return (each for each in self.decisions if not isinstance(each, NotPersonal))


def _reaches(deed: Deed, tenant_id: str) -> bool:
    if tenant_id == NO_TENANT:
        return isinstance(deed, Erase) and deed.without_tenant
    return "tenant_id" in deed.table.c


def _turn(deed: Deed) -> int:
    if isinstance(deed, Erase):
        return 0
    return 1 if deed.of is not None else 2


def _ends_access(deed: Deed) -> bool:
    return isinstance(deed, Erase) and deed.ends_access


def _tags(service: type[AnyService]) -> Iterable[str]:
    """The tags that its mutations invalidate in a tenant as a whole."""
    for method in service.descriptor.methods:
        for tag in option_of(method, policy_pb2.policy).invalidates:
            if PLACEHOLDER.findall(tag) == ["tenant_id"]:
                yield tag
