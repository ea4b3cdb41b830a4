"""Raw bodies, which are neither JSON nor held back (envoy#16629)."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from google.api import http_pb2
from google.protobuf import descriptor_pool

from tests.edge import backend
from tests.edge.gateway import Gateway, running
from tests.edge.scratch import SERVICE, add_method, register, scratch_file, with_file

UPLOAD = f"/{SERVICE}/Upload"


@pytest.fixture(scope="module")
def uploads() -> Iterator[Gateway]:
    file = scratch_file()
    add_method(file, "Upload", "Upload", http_pb2.HttpRule(post="/upload/{name}", body="content"), uploads=True)
    register(file)
    method = descriptor_pool.Default().FindMethodByName(f"{SERVICE}.Upload")
    backend.METHODS[UPLOAD] = method
    descriptors = with_file(files("plinth").joinpath("descriptors.binpb").read_bytes(), file)
    with running(descriptors=descriptors) as gateway:
        yield gateway
    del backend.METHODS[UPLOAD]


@pytest.mark.parametrize("protocol", ["http", "http2"])
@pytest.mark.parametrize("content_type", ["image/png", "application/json", "text/plain"])
def test_a_body_of_any_type_arrives_whole(uploads: Gateway, protocol: str, content_type: str) -> None:
    received: list[bytes] = []
    kinds: set[str] = set()

    def answer(messages: Iterator[Any], _context: Any) -> Any:
        for message in messages:
            received.append(message.content.data)
            kinds.add(message.content.content_type)
        return backend.response(UPLOAD)(name="done")

    uploads.realtime[0].answers[UPLOAD] = answer
    sent = b"\0\xff{" * 2_000_000
    client = getattr(uploads, protocol)
    done = client.post("/upload/a.png", content=sent, headers={"content-type": content_type}, timeout=20)
    assert (done.status_code, done.json()["name"]) == (200, "done")
    assert b"".join(received) == sent
    assert kinds - {""} == {content_type}
    assert len(received) > 1
