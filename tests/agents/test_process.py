"""The process that answers agents: it costs little until somebody asks, comes back, and can be left out."""

from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.agents.client import Agent, key_of, work
from tests.agents.test_http import READER, post
from tests.clients import new_tenant
from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
MEGABYTE = 1024 * 1024


@pytest.fixture
def own_stack() -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []

    def start(*, agents: bool = True) -> Stack:
        made.append(Stack(api_workers=2, agents=agents))
        return made[-1].start()

    yield start
    for stack in made:
        stack.stop()
        stack.remove()


def own_bytes(pid: int) -> int:
    """Bytes of a process that it shares with no other."""
    return int(psutil.Process(pid).memory_full_info().uss)


async def ask(agent: Agent) -> None:
    assert "tools" in await agent.call("find_tools", query="pages")


def test_it_takes_memory_only_once_an_agent_asks_and_comes_back_when_it_dies(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack()
    key = key_of(new_tenant(stack), *READER)
    assert own_bytes(stack.pid("agents")) < 15 * MEGABYTE
    work(stack, key, ask)
    assert own_bytes(stack.pid("agents")) > 25 * MEGABYTE
    old = stack.kill("agents")
    wait_for(lambda: stack.pid("agents") not in {0, old} and _answers(stack, key))
    work(stack, key, ask)


def _answers(stack: Stack, key: str) -> bool:
    # Its body means nothing, which is answered 400 by the process, and 503 by the gateway while that is away.
    return post(stack, {"authorization": f"Bearer {key}"}).status_code == 400


def test_each_worker_gets_its_share_and_one_that_dies_is_not_missed(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack()
    key = key_of(new_tenant(stack), *READER)

    async def task(agent: Agent) -> None:
        await ask(agent)
        stack.kill("api-1")
        for _ in range(10):
            await ask(agent)

    work(stack, key, task)


def test_without_agents_there_is_neither_a_process_nor_an_address(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack(agents=False)
    assert "agents" not in stack.processes()
    answer = post(stack, {})
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "ROUTE_NOT_FOUND")
