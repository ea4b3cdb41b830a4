"""What tests reach past the gateway: platform administrators, whom no RPC makes, and each api worker by itself."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc

from tests.clients import TIMEOUT, Account, Session, database, log_in, rpc_problem, sign_up
from tests.stack import Stack

Ask = Callable[[Any, str, Any], list[str]]
"""Takes a stub class, the name of an RPC and a request."""


def make_platform_admin(stack: Stack, account: Account) -> Session:
    """Make somebody a platform administrator, and log them in."""
    with database(stack) as connection:
        connection.execute("UPDATE users SET is_platform = true WHERE id = %s", (account.id,))
    return log_in(stack, account)


def new_platform_admin(stack: Stack) -> Session:
    """A platform administrator who belongs to no tenant."""
    return make_platform_admin(stack, sign_up(stack))


@contextmanager
def every_worker(stack: Stack, token: str) -> Iterator[Ask]:
    """Asks each api worker with one token, which the gateway leaves to chance; answers reasons, empty for OK."""
    with ExitStack() as opened:
        sockets = [stack.settings.socket(f"api-{number}") for number in range(stack.settings.api_workers)]
        channels = [opened.enter_context(grpc.insecure_channel(f"unix:{socket}")) for socket in sockets]

        def ask(stub: Any, rpc: str, request: Any) -> list[str]:
            return [_reason(getattr(stub(channel), rpc), request, token) for channel in channels]

        yield ask


def _reason(rpc: Any, request: Any, token: str) -> str:
    try:
        rpc(request, metadata=[("authorization", f"Bearer {token}")], timeout=TIMEOUT)
    except grpc.RpcError as error:
        return rpc_problem(error).reason
    return ""
