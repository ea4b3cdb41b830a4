"""The client for threads."""

from types import TracebackType
from typing import Self

import grpc
from plinth.client.address import Address
from plinth.client.calls import Calls
from plinth.client.credentials import Refresh
from plinth.client.errors import Unavailable
from plinth.client.operations import WATCH, Following, Progress, outcome
from plinth.client.retrying import USUAL, Retries
from plinth.client.sending import channel_options
from plinth.client.sessions import SWITCH, Tokens, beginning
from plinth.identity.v1 import auth_pb2
from plinth.operations.v1 import operation_pb2
from plinth.services import Services


class Plinth(Services):
    """A client of one Plinth, with an attribute for each of its services: `client.pages.get_page(...)`.

    Threads may share it. Make one, use it for long, and close it, or use it as a context manager. A process that forks
    makes it after the fork.
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
        refresh: Refresh | None = None,
    ) -> None:
        """`url` is that of the gateway: `https://plinth.example`, or `http://127.0.0.1:8080` without TLS.

        Credentials are an API key, a token (with a refresh token it is renewed), or email and password, with which the
        first call logs in, to the tenant of this subdomain. Without them, only public RPCs can be called. `timeout` is
        seconds for one call with all its attempts. `root_certificates` are PEM, instead of those that gRPC brings.
        `user_agent` names your program, such as `billing/1.4`, in the audit log. `refresh` exchanges the refresh token
        instead of this client, for programs that share a session: each gets what one of them got.

        Connects to nothing. Raises ValueError for arguments that mean nothing together.
        """
        address = Address.parse(url)
        start = beginning(
            api_key=api_key, token=token, refresh_token=refresh_token, email=email, password=password, tenant=tenant
        )
        options = channel_options(user_agent)
        if address.is_secure:
            credentials = grpc.ssl_channel_credentials(root_certificates)
            self._channel = grpc.secure_channel(address.target, credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(address.target, options=options)
        self._url = url
        super().__init__(Calls(self._channel, start, retries=retries, timeout=timeout, refresh=refresh))

    @property
    def calls(self) -> Calls:
        """What makes the calls, also of an RPC whose name is known only at run time."""
        return self._calls

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of now, to go on with in another process; None before the first login, and without credentials."""
        return self._calls.credentials.tokens

    def switch_tenant(self, tenant_id: str) -> auth_pb2.Session:
        """Make all further calls in another tenant of the user. Raises NotFound if the user is not a member."""
        session = self._calls.unary(SWITCH, auth_pb2.SwitchTenantRequest(tenant_id=tenant_id))
        self._calls.credentials.adopt(session)
        return session

    def wait(
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
        for event in self._calls.events(WATCH, following.request, timeout=timeout):
            if following.is_over(event.operation):
                return outcome(event.operation)
        raise Unavailable("The stream of the operation ended before the operation did.")

    def close(self) -> None:
        """Close the connection. Calls that still run are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Plinth({self._url!r})"
