"""Reference: what the contract says in words, and the OpenAPI document, made from policies, descriptors and comments.

An RPC is in it on the day it is written: its comment, its bindings, the rules of its fields, who may call, and the
errors that it may answer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from server.gateway.static_files import StaticFile
from server.json_values import JsonObject
from server.kernel.comments import read_comments
from server.kernel.policy import MethodPolicy
from server.reference.document import Document, compact
from server.reference.openapi import document

__all__ = ["Reference"]


@dataclass(frozen=True)
class Reference:
    """The reference of these RPCs. Nothing is read or made before it is asked for, nor kept."""

    methods: Iterable[MethodPolicy]
    descriptors: Callable[[], bytes]
    """Reads the descriptor set, with its source info."""
    version: str

    def comments(self) -> Mapping[str, str]:
        """The comments of the contract by full name."""
        return read_comments(self.descriptors())

    def openapi(self) -> bytes:
        """The OpenAPI document as JSON. Takes about 0.1 s."""
        return compact(self._document())

    def postman(self) -> bytes:
        """The document as a collection of Postman, as JSON."""
        from server.reference.postman import collection  # noqa: PLC0415 - no serving process needs it

        return compact(collection(self._read()))

    def site(self) -> list[StaticFile]:
        """The pages, guides and documents that the gateway answers itself."""
        from server.reference.site import site  # noqa: PLC0415 - no serving process needs it

        return site(self._read())

    def _read(self) -> Document:
        return cast("Document", self._document())

    def _document(self) -> JsonObject:
        return document(self.methods, self.comments(), self.version)
