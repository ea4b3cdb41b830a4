"""What the generated clients say of each RPC."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)
Item = TypeVar("Item")
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Req, Res]):
    """One RPC of the contract."""

    path: str
    """`/plinth.sites.v1.PageService/GetPage`."""
    request: type[Req]
    response: type[Res]
    reads: bool = False
    """Whether the contract says that it has no side effects. Every other RPC is sent with an idempotency key."""
    is_anonymous: bool = False
    """Whether it is sent without credentials, because it gets them."""
