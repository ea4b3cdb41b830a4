"""`plinth mcp`: an agent on the machine of the person whose API key it has."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

from tests.agents.client import AGENT, MODES, Agent, key_of
from tests.agents.test_http import EDITOR, entries, new_page
from tests.clients import Tenant, new_tenant
from tests.command.running import PLINTH, Person
from tests.stack import Stack


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def work(folder: Path, key: str, task: Callable[[Agent], Awaitable[None]], *options: str, mode: str = "auto") -> None:
    """Let an agent do a task. It starts the command in a folder of its own, as a desktop program does."""
    file = folder / "key"
    file.write_text(f"{key}\n")
    command = [*PLINTH, "mcp", "--api-key-file", str(file), *options]

    async def run() -> None:
        environment = {"PATH": os.environ["PATH"]}
        server = StdioServerParameters(command=command[0], args=command[1:], env=environment, cwd=folder)
        async with Client(stdio_client(server), client_info=AGENT, mode=mode) as client:
            await task(Agent(client))

    asyncio.run(run())


@pytest.mark.parametrize("mode", MODES)
def test_it_publishes_and_is_named_in_the_audit_log(stack: Stack, tenant: Tenant, tmp_path: Path, mode: str) -> None:
    page = new_page(tenant)

    async def task(agent: Agent) -> None:
        assert (await agent.tools()).keys() == {"find_tools", "read", "change"}
        arguments = {"pageId": page["id"], "preview": False}
        done = await agent.call("change", tool="sites_publish_page", arguments=arguments)
        assert done["status"] == "STATUS_PUBLISHED"

    work(tmp_path, key_of(tenant, *EDITOR), task, "--url", stack.url, "--write", mode=mode)
    (entry,) = entries(tenant, "plinth.sites.v1.PageService/PublishPage")
    assert entry["userAgent"].startswith("test-agent/7.1 (MCP) grpc-python")


def test_it_reads_by_default_and_only_its_groups(stack: Stack, tenant: Tenant, tmp_path: Path) -> None:
    async def task(agent: Agent) -> None:
        tools = await agent.tools()
        assert "sites_list_pages" in tools
        assert not {"sites_publish_page", "audit_list_audit_entries", "find_tools"} & tools.keys()

    work(tmp_path, key_of(tenant, *EDITOR), task, "--url", stack.url, "--groups", "sites")


def test_it_shares_the_session_of_a_profile_and_renews_it(tenant: Tenant, tmp_path: Path) -> None:
    person = Person(tmp_path)
    person.log_in(tenant)
    person.shorten(tenant, 60, age=3600)
    before = person.stored["profiles"]["default"]["refresh_token"]

    async def task(agent: Agent) -> None:
        assert (await agent.call("read", tool="identity_get_caller"))["userId"] == tenant.owner.id

    async def run() -> None:
        command, *arguments = [*PLINTH, "mcp"]
        server = StdioServerParameters(command=command, args=arguments, env=person.environment, cwd=tmp_path)
        async with Client(stdio_client(server), client_info=AGENT) as client:
            await task(Agent(client))

    asyncio.run(run())
    assert person.stored["profiles"]["default"]["refresh_token"] != before
    assert person.run("call", "get_caller").returncode == 0


def test_a_key_that_is_none_and_a_plinth_that_is_away_are_told_to_the_agent(stack: Stack, tmp_path: Path) -> None:
    async def refused(agent: Agent) -> None:
        error = await agent.refused("find_tools", query="pages")
        assert (error["code"], error["reason"]) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
        with pytest.raises(MCPError, match="The API key is not valid"):
            await agent.tools()

    work(tmp_path, "sn_live_" + "x" * 43, refused, "--url", stack.url)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--url", "http://127.0.0.1:1", "--api-key-file", "absent"), "absent: No such file or directory"),
        (("--url", "nonsense", "--api-key-file", "key"), "has to be a URL"),
        (("--url", "http://127.0.0.1:1", "--api-key-file", "key", "--groups", "cars"), "`cars` is no group of tools"),
    ],
)
def test_a_fault_of_the_command_is_one_line(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    (tmp_path / "key").write_text("sn_live_x")
    done = subprocess.run(
        [*PLINTH, "mcp", *options],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
