"""The reference of the API: the OpenAPI document, made once in each process that is asked for it."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from google.api.httpbody_pb2 import HttpBody
from plinth.operations.v1 import reference_pb2

from server.kernel.call import Call
from server.kernel.resources import Service

JSON = "application/json"
ETAG_BYTES = 8


class _Document(NamedTuple):
    body: HttpBody
    etag: str


class ReferenceService(Service):
    """The reference of the API."""

    descriptor = reference_pb2.DESCRIPTOR.services_by_name["ReferenceService"]

    def __init__(self, openapi: Callable[[], bytes]) -> None:
        """`openapi` makes the document, which takes about 0.1 s."""
        super().__init__()
        self._openapi = openapi

    def get_open_api_document(self, call: Call, request: reference_pb2.GetOpenApiDocumentRequest) -> HttpBody:
        """The document."""
        del request
        call.etag = self._document.etag
        return self._document.body

    @cached_property
    def _document(self) -> _Document:
        data = self._openapi()
        digest = hashlib.blake2b(data, digest_size=ETAG_BYTES).hexdigest()
        return _Document(HttpBody(content_type=JSON, data=data), f'W/"{digest}"')
