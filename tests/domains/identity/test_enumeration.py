"""No answer tells by its time whether there is an account.

The margin is wide. A password takes some 20 ms to hash, so a hash for known addresses alone is far outside of it.
"""

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter

import pytest

from server.settings import LEAST_PASSWORD_MEMORY
from tests.clients import Rest, new_address, new_password, sign_up
from tests.stack import Stack

pytestmark = pytest.mark.heavy
CALLS, MARGIN = 40, 2.0
BODIES: dict[str, Callable[[str], dict[str, str]]] = {
    "auth/forgot-password": lambda email: {"email": email},
    "auth/resend-verification": lambda email: {"email": email},
    "auth/login": lambda email: {"email": email, "password": "Wrong-1234"},
    "auth/signup": lambda email: {"email": email, "password": new_password()},
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One that hashes as a deployment does."""
    own = Stack(api_workers=1, password_memory=LEAST_PASSWORD_MEMORY)
    try:
        yield own.start()
    finally:
        own.remove()


@pytest.mark.parametrize("path", BODIES)
def test_an_unknown_address_takes_as_long(stack: Stack, path: str) -> None:
    rest, known = Rest(stack), sign_up(stack).email
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * CALLS):
        is_known = number % 2 == 0
        body = BODIES[path](known if is_known else new_address())
        begun = perf_counter()
        rest.post(path, body)
        times[is_known].append(perf_counter() - begun)
    ratio = median(times[True]) / median(times[False])
    assert 1 / MARGIN < ratio < MARGIN, times
