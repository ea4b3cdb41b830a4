"""How large a body may be, as the contract has it, and every body that the contract allows."""

import json
from dataclasses import replace
from importlib import resources

import pytest

from server.gateway.body_limits import LEAST, MOST, STRANGERS_BYTES, body_limit, largest_body
from server.gateway.contract import Binding, Contract, Method
from server.gateway.descriptors import parse
from tests.edge.gateway import PAGES, Gateway

CONTRACT = Contract.read(parse(resources.files("plinth").joinpath("descriptors.binpb").read_bytes()))
CEILING = 4 * 1024 * 1024
BOUND = [
    (method, binding)
    for method in CONTRACT.methods
    for binding in method.bindings
    if CONTRACT.body_type(method, binding) is not None and not method.client_streaming
]


@pytest.mark.parametrize(("method", "binding"), BOUND, ids=lambda one: getattr(one, "path", ""))
def test_every_body_has_a_limit_of_its_own(method: Method, binding: Binding) -> None:
    limit = body_limit(CONTRACT, method, binding, CEILING)
    if method.raw is not None:
        # The other fields of the request take their part of the ceiling.
        assert limit == method.raw.max_bytes
        assert body_limit(CONTRACT, method, binding, 100) == 94
        return
    assert LEAST <= limit <= (method.max_body_bytes or MOST)
    assert body_limit(CONTRACT, method, binding, 100) == 100
    if method.is_public:
        assert limit <= STRANGERS_BYTES


def test_a_declared_limit_counts() -> None:
    method, binding = next(pair for pair in BOUND if pair[0].name == "CreatePage")
    lifted = replace(method, max_body_bytes=MOST + 1)
    assert body_limit(CONTRACT, lifted, binding, CEILING) == MOST + 1
    assert largest_body(replace(CONTRACT, methods=(*CONTRACT.methods, lifted)), CEILING) == MOST + 1


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_the_longest_page_there_may_be_fits_however_it_is_written(gateway: Gateway, letter: str) -> None:
    """With everything escaped and indented, as some clients do."""
    settings = {f"key {number}": letter * 100 for number in range(65_536 // (len(letter.encode()) * 100 + 20))}
    page = {"title": letter * 300, "description": letter * 2000, "slug": "s" * 64, "settings": settings}
    assert len(json.dumps(settings, ensure_ascii=False, separators=(",", ":")).encode()) <= 65_536
    body = json.dumps(page, indent=2, ensure_ascii=True)
    headers = {"content-type": "application/json", "authorization": "Bearer x"}
    answer = gateway.http.post(PAGES, content=body, headers=headers)
    assert answer.status_code == 200, (len(body), answer.text)
