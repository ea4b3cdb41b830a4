"""The stack that the tests share: started when the first test asks for it, in whichever worker that runs.

Its owner is the process that started pytest. The workers of pytest-xdist ask that process, so that there is one stack
however many workers there are, and it is stopped when they are all done. When pytest is killed, the kernel tells the
stack.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import Client, Listener
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from server.kernel.policy import MethodPolicy
from server.modules import MODULES
from tests.again import keep_logs
from tests.domains.communication.signing import mail_settings
from tests.domains.identity.issuer import IssuerOfCodes
from tests.domains.identity.places import place_settings
from tests.domains.integrations.accounts import Accounts
from tests.domains.tenancy.name_server import name_server
from tests.mailbox import mail_server, mailbox_of
from tests.stack import Stack, free_of_settings, free_port

# A loaded machine is no fault of what is tested.
settings.register_profile("plinth", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plinth")
ADDRESS = "TEST_STACK_KEEPER"
KEEPER = pytest.StashKey["Keeper"]()
LONGEST = {"test_schemathesis.py", "test_rotation.py"}
"""Files that take minutes by themselves. `make test-heavy` takes the files in this order."""


class Keeper(threading.Thread):
    """Starts the shared stack for the first who asks, tells everybody where it is, and removes it in the end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        # The address is a random one in a folder that only this user may enter.
        self._listener = Listener(family="AF_UNIX")
        self._stack: Stack | None = None
        self._failure = ""
        self._closing = ExitStack()
        self.deaths = ""
        """What the shared stack says of processes that died."""

    @property
    def address(self) -> str:
        """Where to ask."""
        return str(self._listener.address)

    def run(self) -> None:
        """Answer, one after the other, until the answer is wanted no more."""
        while True:
            with self._listener.accept() as connection:
                if connection.recv() == "end":
                    break
                connection.send(self._answer())
        # Here, in the thread that started it: the kernel takes the end of this thread for the end of the parent.
        if self._stack:
            self.deaths = self._stack.deaths
            keep_logs(self._stack.data_dir)
            self._stack.remove()
        self._closing.close()

    def end(self) -> None:
        """Remove the stack, if there is one."""
        with Client(self.address) as connection:
            connection.send("end")
        self.join()
        self._listener.close()

    def _answer(self) -> tuple[str, str]:
        """The data folder of the stack, or what kept it from starting."""
        if self._stack is None:
            self._stack = Stack(metrics_port=free_port())
            url = self._closing.enter_context(mail_server(mailbox_of(self._stack).folder))
            issuer = self._closing.enter_context(IssuerOfCodes())
            accounts = self._closing.enter_context(Accounts())
            names = self._closing.enter_context(name_server(self._stack))
            try:
                own = (
                    mail_settings(self._stack)
                    | place_settings(self._stack)
                    | issuer.settings
                    | accounts.settings
                    | names
                )
                self._stack.set(communication_smtp_url=url, **own)
                self._stack.start()
            except AssertionError as error:
                self._stack.remove()
                self._failure = str(error)
        return str(self._stack.data_dir), self._failure


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--domain sites`: of the sweeps over RPCs, only those of one domain (`make test DOMAIN=sites`)."""
    parser.addoption("--domain", default="", help="sweep only the RPCs of this domain")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest tests, and leave out what a sweep asks of the RPCs of other domains."""
    # Each of them would keep one core busy at the end, and the other one idle.
    items.sort(key=lambda item: item.path.name not in LONGEST)
    domain = config.getoption("--domain")
    if domain:
        config.hook.pytest_deselected(items=[item for item in items if not is_about(item, domain)])
        items[:] = [item for item in items if is_about(item, domain)]


def is_about(item: pytest.Item, domain: str) -> bool:
    """Whether a test is of no RPC in particular, or of one of the domain."""
    values = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    return all(value.domain == domain for value in values if isinstance(value, MethodPolicy))


def pytest_configure(config: pytest.Config) -> None:
    """Forget the settings of this shell, and keep the shared stack from here when this is not a worker."""
    domain = config.getoption("--domain")
    if domain and domain not in {module.name for module in MODULES}:
        # It would leave out nearly everything, and be green.
        raise pytest.UsageError(f"--domain takes one domain, and `{domain}` is none")
    for name in os.environ.keys() - free_of_settings(dict(os.environ)).keys():
        del os.environ[name]
    if hasattr(config, "workerinput"):
        return
    keeper = Keeper()
    keeper.start()
    config.stash[KEEPER] = keeper
    os.environ[ADDRESS] = keeper.address


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the shared stack. No process of it may have died: the tests that meet it fail for no reason of theirs."""
    keeper = session.config.stash.get(KEEPER, None)
    if keeper:
        keeper.end()
        if keeper.deaths:
            sys.stderr.write(f"\nprocesses of the shared stack died:\n{keeper.deaths}\n")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The shared stack. Tests leave it as they found it: who kills or changes processes uses `own_stack`."""
    with Client(os.environ[ADDRESS]) as connection:
        connection.send("stack")
        data_dir, failure = connection.recv()
    if failure:
        pytest.fail(failure, pytrace=False)
    return Stack.attach(Path(data_dir))


@pytest.fixture
def own_stack() -> Iterator[Callable[..., Stack]]:
    """Makes stacks for one test: `own_stack(api_workers=1)` serves when it returns, and is gone after the test."""
    made: list[Stack] = []

    def make(data_dir: Path | None = None, **settings: object) -> Stack:
        made.append(Stack(data_dir, **settings))
        return made[-1].start()

    yield make
    for one in made:
        one.remove()
