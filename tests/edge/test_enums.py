"""Enum values over REST: every spelling of every value arrives; what is no value is refused with those there are."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import EnumDescriptor

from server.enum_names import short_names, told
from server.kernel.messages.fields import enum_values
from tests.edge.backend import METHODS
from tests.edge.gateway import PAGES, Gateway
from tests.edge.test_rest import bindings


class Place(NamedTuple):
    """Where a caller names a value: a field of a body, or a parameter."""

    path: str
    verb: str
    url: str
    names: tuple[str, ...]
    """The field of the request, and those below it."""
    is_body: bool
    enum: EnumDescriptor

    def ask(self, gateway: Gateway, value: str | int) -> tuple[int, str, int | None]:
        """Status and message of the answer, and the number that the server got."""
        gateway.backend.forget()
        gateway.realtime[0].forget()
        if self.is_body:
            names = self.names if is_whole(self.path) else self.names[-1:]
            body: object = value
            for name in reversed(names):
                body = {name: body}
            answer = gateway.http.request(self.verb, self.url, json=body)
        else:
            answer = gateway.http.request(self.verb, self.url, params={self.names[-1]: value})
        calls = [*gateway.backend.calls, *gateway.realtime[0].calls]
        if answer.status_code != 200:
            return answer.status_code, answer.json()["message"], None
        found = calls[-1].request
        for name in self.names:
            found = getattr(found, name)
        return 200, "", found


def is_whole(path: str) -> bool:
    """Whether a body is the whole request, and not one of its fields."""
    return bool(METHODS[path].GetOptions().Extensions[annotations_pb2.http].body == "*")


def places() -> Iterator[Place]:
    """Every enum that REST takes: at the top of a body, and as a parameter."""
    for path, verb, url in bindings():
        method = METHODS[path]
        if method.client_streaming:
            # The fields of an upload are in its address: tests/domains/dictionary/test_transfers.py tries them.
            continue
        request, body = method.input_type, ""
        for field in request.fields:
            if verb in {"GET", "DELETE"} and field.enum_type is not None:
                yield Place(path, verb, url, (field.name,), is_body=False, enum=field.enum_type)
            if verb in {"POST", "PUT", "PATCH"} and field.enum_type is not None:
                yield Place(path, verb, url, (field.name,), is_body=True, enum=field.enum_type)
            if verb in {"POST", "PATCH"} and field.message_type is not None and not field.is_repeated:
                body = field.name
                for below in field.message_type.fields:
                    if below.enum_type is not None and not below.is_repeated:
                        yield Place(path, verb, url, (body, below.name), is_body=True, enum=below.enum_type)


def is_taken(gateway: Gateway, place: Place) -> bool:
    """Whether the field may be sent at this place. The sweep looks at more fields than the bindings take."""
    return place.ask(gateway, 0)[0] == 200


def test_every_spelling_of_every_value_arrives(gateway: Gateway) -> None:
    tried = set()
    for place in places():
        if not is_taken(gateway, place):
            continue
        values = enum_values(place.enum)
        spellings = values | short_names(values) | {name.lower(): n for name, n in short_names(values).items()}
        for spelling, number in spellings.items():
            assert place.ask(gateway, spelling) == (200, "", number), (place, spelling)
        status, message, _ = place.ask(gateway, "NEVER_HEARD_OF")
        assert (status, f"has to be one of {told(values)}" in message) == (400, True), (place, message)
        tried.add(place.enum.full_name)
    assert len(tried) > 6, tried


@pytest.mark.parametrize("sent", ["NEVER", "status published", "PUBLISHED ", ""])
def test_a_refused_value_is_named_with_its_field(gateway: Gateway, sent: str) -> None:
    answer = gateway.http.post(PAGES, json={"title": "x", "status": sent})
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["message"].startswith("`status` has to be one of DRAFT, PUBLISHED, not ")
    assert problem["details"][0]["metadata"] == {"field": "status"}
    assert gateway.backend.calls == []
