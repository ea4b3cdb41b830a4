"""The domains. To add one, import its module here and name it in MODULES."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from server.data import schema
from server.data.grants import Grants, join_grants
from server.data.tables import deletable, metadata
from server.domains.audit.module import MODULE as AUDIT
from server.domains.billing.module import MODULE as BILLING
from server.domains.communication.module import MODULE as COMMUNICATION
from server.domains.dictionary.module import MODULE as DICTIONARY
from server.domains.files.module import MODULE as FILES
from server.domains.flags.module import MODULE as FLAGS
from server.domains.identity.module import MODULE as IDENTITY
from server.domains.integrations.module import MODULE as INTEGRATIONS
from server.domains.notifications.module import MODULE as NOTIFICATIONS
from server.domains.operations.module import MODULE as OPERATIONS
from server.domains.realtime.module import MODULE as REALTIME
from server.domains.sites.module import MODULE as SITES
from server.domains.stories.module import MODULE as STORIES
from server.domains.tenancy.module import MODULE as TENANCY
from server.domains.travel.module import MODULE as TRAVEL
from server.domains.webhooks.module import MODULE as WEBHOOKS
from server.kernel.module import Module, ModuleFault
from server.kernel.policy import PERMISSION, options_of
from server.kernel.privacy import Privacy, decisions
from server.kernel.privacy.platform import DECISIONS
from server.kernel.resources import AnyService
from server.kernel.roles import BUILT_IN_ROLES, Patterns, join_roles

MODULES: tuple[Module, ...] = (
    *(IDENTITY, TENANCY, BILLING, COMMUNICATION, SITES, FILES, OPERATIONS),
    *(AUDIT, WEBHOOKS, REALTIME, TRAVEL, FLAGS, INTEGRATIONS, NOTIFICATIONS, DICTIONARY, STORIES),
)

T = TypeVar("T")


def services(modules: Iterable[Module] = MODULES) -> tuple[type[AnyService], ...]:
    """The services of all domains."""
    return tuple(service for module in modules for service in module.service_classes)


def roles(modules: Iterable[Module] = MODULES) -> dict[str, Patterns]:
    """The permissions of the built-in roles."""
    return join_roles(module.roles for module in modules)


def grants(modules: Iterable[Module] = MODULES) -> Grants:
    """The privileges of PostgreSQL's roles."""
    return join_grants(module.grants for module in modules)


def privacy(modules: Iterable[Module] = MODULES) -> Privacy:
    """What becomes of a person's data."""
    every = tuple(modules)
    decisions = (decision for module in every for decision in module.erases)
    exports = (export for module in every for export in module.exports)
    return Privacy((*DECISIONS, *decisions), tuple(exports), services(every))


def grant(owner_dsn: str, *, runtime: str, dispatch: str) -> None:
    """Grant the two roles their privileges on the tables of all domains."""
    tables = deletable(metadata.sorted_tables)
    schema.grant(owner_dsn, runtime=runtime, dispatch=dispatch, grants=grants(), deletable=tables)


def check(modules: Sequence[Module] = MODULES, descriptors: bytes = b"") -> None:
    """Raise ModuleFault if modules contradict each other or the contract, whose descriptor set is `descriptors`."""
    faults = [
        *_twice("the module", (module.name for module in modules), str),
        *_twice("the service", services(modules), lambda service: service.descriptor.full_name),
        *(fault for module in modules for fault in _faults(module)),
        *_unserved(modules, FileDescriptorSet.FromString(descriptors)),
    ]
    if faults:
        raise ModuleFault(faults)


def check_privacy() -> None:
    """Raise ModuleFault unless every table says what becomes of it when a person is erased."""
    every = privacy()
    faults = [
        # The queue's and the migrations' tables are looked at where there is a database (tests/contract).
        *decisions.undecided(every, decisions.shapes_of(metadata.sorted_tables), beyond=decisions.FOREIGN),
        *decisions.impossible(every),
        *decisions.unmarked(every, every.services),
        *decisions.unexported(every),
    ]
    if faults:
        raise ModuleFault(faults)


def _twice(what: str, declared: Iterable[T], name: Callable[[T], str]) -> Iterator[str]:
    seen: set[str] = set()
    for each in map(name, declared):
        if each in seen:
            yield f"{what} `{each}` is declared twice"
        seen.add(each)


def _faults(module: Module) -> Iterator[str]:
    package = f"plinth.{module.name}.v1"
    permissions = {permission for service in module.service_classes for permission in _permissions(service)}
    for service in module.service_classes:
        if service.descriptor.file.package != package:
            yield f"`{module.name}` has the service {service.descriptor.full_name}, which is not of `{package}`"
        owned = service.resource if service.resource is not None and service.resource.is_narrowed else None
        if owned is not None and not (PERMISSION.match(owned.seen_by) and owned.seen_by.startswith(f"{module.name}.")):
            yield (
                f"{service.__name__}.resource is not seen by everyone, and `{owned.seen_by}` is no permission of "
                f"`{module.name}` with which others see it: name one in Resource(seen_by=...)"
            )
    for role, patterns in module.roles.items():
        if role not in BUILT_IN_ROLES:
            yield f"`{module.name}` declares the role `{role}`, which is no built-in one: {', '.join(BUILT_IN_ROLES)}"
        for pattern in patterns:
            if not _names_any(pattern, module.name, permissions):
                yield f"`{module.name}` gives the role `{role}` `{pattern}`, which is no permission of that domain"
    for name in module.settings.model_fields if module.settings else ():
        if not name.startswith(f"{module.name.removesuffix('s')}"):
            yield f"`{module.name}` has the setting `{name}`, whose name does not begin with that of the domain"


def _names_any(pattern: str, domain: str, permissions: Iterable[str]) -> bool:
    bare = pattern.removeprefix("-")
    return bare.startswith(f"{domain}.") and any(fnmatchcase(permission, bare) for permission in permissions)


def _permissions(service: type[AnyService]) -> Iterator[str]:
    for method in service.descriptor.methods:
        policy = options_of(method)
        if policy is not None and policy.permission:
            yield policy.permission
    if service.resource is not None and service.resource.is_narrowed:
        yield service.resource.seen_by


def _unserved(modules: Iterable[Module], contract: FileDescriptorSet) -> Iterator[str]:
    """Services of the contract that no module declares."""
    declared = {service.descriptor.full_name for service in services(modules)}
    for file in contract.file:
        if not file.package.startswith("plinth."):
            continue
        for service in file.service:
            name = f"{file.package}.{service.name}"
            if name not in declared:
                domain = file.package.split(".")[1]
                yield f"{file.name} declares {name}: name it in server/domains/{domain}/module.py"
