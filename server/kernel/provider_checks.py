"""Checks at start-up: who calls a provider says so in its policy, and has the time for it.

A standard Create may run twice, since its idempotency key is claimed along with its work (steps/idempotency.py). A
service with one therefore holds no port, and starts what reaches a provider in another service, under a custom name.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import CellType, FunctionType, MethodType

from server.kernel.module import ModuleFault
from server.kernel.policy import Kind, MethodPolicy
from server.kernel.providers import Provider, Providers
from server.kernel.resources import AnyService


def check(services: Iterable[AnyService], policies: Iterable[MethodPolicy]) -> None:
    """Raise ModuleFault for a service that holds the port of a provider and does not keep the rules."""
    by_service: dict[str, list[MethodPolicy]] = {}
    for policy in policies:
        by_service.setdefault(policy.descriptor.containing_service.full_name, []).append(policy)
    faults = [
        fault
        for service in services
        for fault in service_faults(held_by(service), by_service.get(service.descriptor.full_name, []))
    ]
    if faults:
        raise ModuleFault(faults)


def service_faults(held: Mapping[str, Provider], methods: Iterable[MethodPolicy]) -> Iterator[str]:
    """The faults of a service that holds the ports of these providers, by their names."""
    named: set[str] = set()
    for method in methods:
        named.update(method.providers)
        if held and method.kind is Kind.CREATE:
            yield f"{method.path} may run twice, and its service holds the port of {', '.join(sorted(held))}"
        for name in method.providers:
            provider = held.get(name)
            if provider is None:
                yield f"{method.path} names the provider `{name}`, whose port its service does not hold"
            elif method.timeout is not None and method.timeout <= provider.deadline:
                yield f"{method.path} ends after {method.timeout:g} s, and {name} may take {provider.deadline:g} s"
    for name in sorted(held.keys() - named):
        yield f"a service holds the port of `{name}`, which none of its RPCs names in `providers` of its policy"


def held_by(service: object) -> dict[str, Provider]:
    """The providers whose ports can be reached from a service, by their names."""
    found: dict[str, Provider] = {}
    seen: set[int] = set()
    # Beside Plinth's own objects, those of the package that the service is of.
    ours = {"server", _package(service)}
    waiting = [service]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        provider = getattr(one, "provider", None) if _package(one) in ours else None
        if isinstance(provider, Provider):
            found[provider.name] = provider
        else:
            waiting.extend(_parts(one, ours))
    return found


def _package(one: object) -> str:
    return type(one).__module__.partition(".")[0]


def _parts(one: object, ours: set[str]) -> Iterator[object]:
    """What an object consists of: attributes, items, and what a function is bound to."""
    match one:
        case MethodType():
            yield one.__self__
        case partial():
            yield from (one.func, *one.args, *one.keywords.values())
        case FunctionType():
            yield from one.__closure__ or ()
        case CellType():
            yield one.cell_contents
        case dict():
            yield from one.values()
        case list() | tuple() | set() | frozenset():
            yield from one
        case type() | Providers():
            # Who can make a port has none of it yet, and knows those of other services.
            return
        case _ if _package(one) in ours:
            slots = (name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ()))
            yield from (_held_in(one, name) for name in slots)
            yield from getattr(one, "__dict__", {}).values()


def _held_in(one: object, name: str) -> object:
    """What a slot holds; None if it is empty. Not by `__getattr__`, which may compile a statement."""
    try:
        return object.__getattribute__(one, name)
    except AttributeError:
        return None
