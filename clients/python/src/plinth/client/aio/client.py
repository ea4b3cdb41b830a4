"""The client for asyncio."""

from types import TracebackType
from typing import Self

import grpc
import grpc.aio
from plinth.client.address import Address
from plinth.client.aio.calls import AsyncCalls
from plinth.client.aio.credentials import AsyncRefresh
from plinth.client.errors import Unavailable
from plinth.client.operations import WATCH, Following, Progress, outcome
from plinth.client.retrying import USUAL, Retries
from plinth.client.sending import channel_options
from plinth.client.sessions import SWITCH, Tokens, beginning
from plinth.identity.v1 import auth_pb2
from plinth.operations.v1 import operation_pb2
from plinth.services import AsyncServices


class AsyncPlinth(AsyncServices):
    """A client of one Plinth for asyncio, with an attribute for each service: `await client.pages.get_page(...)`.

    Tasks of one event loop may share it. Make one, use it for long, and close it, or use it as a context manager.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        token: str | None = None,
        refresh_token: str | None = None,
        email: str | None = None,
        password: str | None = None,
        tenant: str = "",
        timeout: float = 60.0,
        retries: Retries = USUAL,
        root_certificates: bytes | None = None,
        user_agent: str = "",
        refresh: AsyncRefresh | None = None,
    ) -> None:
        """See Plinth: the arguments are the same. Raises ValueError for those that mean nothing together."""
        address = Address.parse(url)
        start = beginning(
            api_key=api_key, token=token, refresh_token=refresh_token, email=email, password=password, tenant=tenant
        )

        options = channel_options(user_agent)

        def connect() -> grpc.aio.Channel:
            if not address.is_secure:
                return grpc.aio.insecure_channel(address.target, options=options)
            credentials = grpc.ssl_channel_credentials(root_certificates)
            return grpc.aio.secure_channel(address.target, credentials, options=options)

        self._url = url
        super().__init__(AsyncCalls(connect, start, retries=retries, timeout=timeout, refresh=refresh))

    @property
    def calls(self) -> AsyncCalls:
        """What makes the calls, also of an RPC whose name is known only at run time."""
        return self._calls

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of now, to go on with in another process; None before the first login, and without credentials."""
        return self._calls.credentials.tokens

    async def switch_tenant(self, tenant_id: str) -> auth_pb2.Session:
        """Make all further calls in another tenant of the user. Raises NotFound if the user is not a member."""
        session = await self._calls.unary(SWITCH, auth_pb2.SwitchTenantRequest(tenant_id=tenant_id))
        self._calls.credentials.adopt(session)
        return session

    async def wait(
        self,
        operation: operation_pb2.Operation | str,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> operation_pb2.Operation:
        """Wait until an operation (or the one with this id) has succeeded; `progress` gets it after each change.

        `timeout` is seconds; None waits as long as it takes, since every operation ends. Raises OperationFailed,
        OperationCancelled, DeadlineExceeded, and other PlinthErrors if it cannot be followed.
        """
        following = Following(operation, progress)
        events = self._calls.events(WATCH, following.request, timeout=timeout)
        try:
            async for event in events:
                if following.is_over(event.operation):
                    return outcome(event.operation)
        finally:
            await events.aclose()
        raise Unavailable("The stream of the operation ended before the operation did.")

    async def close(self) -> None:
        """Close the connection. Calls that still run are cancelled."""
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncPlinth({self._url!r})"
