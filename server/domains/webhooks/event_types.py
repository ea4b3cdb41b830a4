"""The types of events, read from the contract: those that the policies of RPCs emit, and further ones."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from google.protobuf.descriptor import MethodDescriptor
from plinth.webhooks.v1.webhook_pb2 import ListEventTypesResponse

from server.kernel.live import EVERY, matches
from server.kernel.policy import EMPTY, options_of
from server.kernel.problems import Violation
from server.kernel.resources import AnyService, private_events, revealed_by

FIRST_SENTENCE = re.compile(r".*?\.(?=\s|$)", re.DOTALL)

EventType = ListEventTypesResponse.EventType


class EventTypes:
    """The catalogue of event types."""

    def __init__(self, services: Iterable[type[AnyService]], comments: Callable[[], Mapping[str, str]]) -> None:
        """`comments` reads those of the contract, by full name."""
        self._services = tuple(services)
        self._comments = comments
        private = private_events(self._services)
        self._payloads = {name: payload for name, payload in sorted(self._read_payloads()) if name not in private}
        self._revealed_by = revealed_by(self._services)
        groups = {f"{name.partition('.')[0]}.*" for name in self._payloads}
        self._known = (EVERY, *sorted(groups), *self._payloads)

    @cached_property
    def listed(self) -> tuple[EventType, ...]:
        """All types by name, with their descriptions."""
        described = self._descriptions()
        return tuple(
            EventType(name=name, description=described[name], payload=payload)
            for name, payload in self._payloads.items()
        )

    def matching(self, patterns: Sequence[str]) -> list[str]:
        """The types that match one of the patterns."""
        return [name for name in self._payloads if matches(patterns, name)]

    def revealing(self, patterns: Sequence[str]) -> set[str]:
        """The permissions that show the events of single users which the patterns name. `*` names none of them."""
        return {self._revealed_by[name] for name in self.naming(patterns) if name in self._revealed_by}

    def naming(self, patterns: Sequence[str]) -> list[str]:
        """The types that patterns name by themselves or by their family. Of these, events of single users are sent."""
        return self.matching([pattern for pattern in patterns if pattern != EVERY])

    def violations(self, field: str, patterns: Sequence[str]) -> list[Violation]:
        """The violations of patterns in a field: those that match no type."""
        return [
            Violation(f"{field}[{place}]", f"is no event type{self._hint(pattern)}", "event_type.unknown")
            for place, pattern in enumerate(patterns)
            if pattern not in self._known
        ]

    def _hint(self, pattern: str) -> str:
        near = difflib.get_close_matches(pattern, self._known, n=1, cutoff=0.6)
        return f": did you mean `{near[0]}`?" if near else ""

    def _read_payloads(self) -> Iterator[tuple[str, str]]:
        for service in self._services:
            for name, facts in service.events.items():
                yield name, facts.payload.DESCRIPTOR.full_name
            for event, method in _emitting(service):
                if event not in service.events:
                    yield event, _payload_of(service, method)

    def _descriptions(self) -> Mapping[str, str]:
        comments = self._comments()
        found: dict[str, list[str]] = {}
        for service in self._services:
            for event, method in _emitting(service):
                found.setdefault(event, []).append(_first_sentence(comments.get(method.full_name, "")))
            for event, facts in service.events.items():
                found.setdefault(event, []).append(facts.description)
        return {event: " ".join(filter(None, sentences)) for event, sentences in found.items()}


def _emitting(service: type[AnyService]) -> Iterator[tuple[str, MethodDescriptor]]:
    for method in service.descriptor.methods:
        policy = options_of(method)
        if policy is not None and policy.emits:
            yield policy.emits, method


def _payload_of(service: type[AnyService], method: MethodDescriptor) -> str:
    """The message that an RPC returns, or the resource before the change for an RPC that returns nothing."""
    if method.output_type.full_name != EMPTY:
        return str(method.output_type.full_name)
    if service.resource is None:
        raise LookupError(f"{method.full_name} answers nothing: {service.__name__}.events has to say what it tells")
    return str(service.resource.message.DESCRIPTOR.full_name)


def _first_sentence(comment: str) -> str:
    sentence = FIRST_SENTENCE.match(comment)
    return sentence[0] if sentence else comment
