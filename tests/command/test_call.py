"""`plinth call`: any RPC by its name."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.clients import Tenant
from tests.command.running import Person
from tests.stack import wait_for


@pytest.fixture
def owner(person: Person, tenant: Tenant) -> Person:
    person.log_in(tenant)
    return person


def test_it_creates_gets_and_publishes_by_every_form_of_a_name(owner: Person, tenant: Tenant) -> None:
    request = json.dumps({"tenantId": tenant.id, "page": {"title": "Grüße", "status": "draft"}})
    page = owner.answer("call", "PageService/CreatePage", request)
    assert (page["title"], page["status"]) == ("Grüße", "STATUS_DRAFT")
    which = json.dumps({"tenantId": tenant.id, "pageId": page["id"]})
    for name in (
        "GetPage",
        "get_page",
        "sites.PageService/GetPage",
        "plinth.sites.v1.PageService/GetPage",
        "pageservice/getpage",
    ):
        assert owner.answer("call", name, which)["slug"] == page["slug"]
    (owner.folder / "request.json").write_text(which)
    assert owner.answer("call", "PublishPage", "@request.json")["status"] == "STATUS_PUBLISHED"
    assert owner.answer("call", "GetPage", "-", given=which)["status"] == "STATUS_PUBLISHED"


def test_a_dry_run_keeps_nothing_and_a_key_repeats_nothing(owner: Person, tenant: Tenant) -> None:
    request = json.dumps({"tenantId": tenant.id, "page": {"title": "Once"}})
    assert owner.answer("call", "CreatePage", request, "--dry-run")["title"] == "Once"
    made = {owner.answer("call", "CreatePage", request, "--idempotency-key", "once")["id"] for _ in range(2)}
    assert {page["id"] for page in tenant.rest.get(f"{tenant.path}/pages").json()["pages"]} == made
    assert len(made) == 1


def test_all_pages_of_a_list_are_lines(owner: Person, tenant: Tenant) -> None:
    for number in range(5):
        assert tenant.rest.post(f"{tenant.path}/pages", {"title": f"Page {number}"}).status_code == 201
    done = owner.run("call", "ListPages", json.dumps({"tenantId": tenant.id, "pageSize": 2}), "--all")
    assert sorted(json.loads(line)["title"] for line in done.stdout.splitlines()) == [f"Page {n}" for n in range(5)]


def test_a_file_is_written_as_it_is(owner: Person, tenant: Tenant) -> None:
    done = owner.run("call", "ExportAuditEntries", json.dumps({"tenantId": tenant.id, "format": "jsonl"}))
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["tenantId"] for line in done.stdout.splitlines()} == {tenant.id}


def test_the_operation_that_is_answered_is_waited_for(owner: Person, tenant: Tenant) -> None:
    body = {"url": "https://example.com/hook", "eventTypes": ["page.created"]}
    webhook = tenant.rest.post(f"{tenant.path}/webhooks", body)
    assert webhook.status_code == 201, webhook.text
    request = {"tenantId": tenant.id, "webhookId": webhook.json()["id"], "startTime": "2026-01-01T00:00:00Z"}
    # One event is sent at once, and several by an operation.
    for number in range(3):
        assert tenant.rest.post(f"{tenant.path}/pages", {"title": f"Page {number}"}).status_code == 201
    done = owner.answer("call", "ReplayWebhookEvents", json.dumps(request), "--wait")
    assert (done["kind"], done["state"]) == ("webhook_replay", "STATE_DONE")


def test_answers_are_indented_for_people_and_lines_for_programs(owner: Person) -> None:
    assert owner.run("call", "GetCaller").stdout.count("\n") == 1
    for options, lines in (((), 5), (("--json",), 0)):
        reading, writing = pty.openpty()
        with owner.start("call", "GetCaller", *options, stdout=writing) as process:
            os.close(writing)
            assert printed(reading).count("\n") > lines
            assert process.wait(60) == 0
        os.close(reading)


def printed(reading: int) -> str:
    """All that a program writes to a terminal, which gives 4 KB at a time and an error at the end."""
    parts = []
    with suppress(OSError):
        while part := os.read(reading, 100_000):
            parts.append(part)
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("GetPag",), 2, "`GetPag` is no RPC: did you mean sites.PageService/GetPage"),
        (("Nonsense",), 2, "`Nonsense` is no RPC\n"),
        ((), 2, "name an RPC, or list them with --list"),
        (("GetPage", "{"), 2, "the request is no JSON: "),
        (("GetPage", "[]"), 2, "the request: the request has to be a JSON object"),
        (("GetPage", '{"page": 1}'), 2, "the request: page is no field of GetPageRequest, which has: tenantId, pageId"),
        (("GetPage", "@absent"), 2, "absent: No such file or directory"),
        (("GetPage", "--header", "x"), 2, "`x` is no header: write NAME:VALUE"),
        (("GetPage", "--header", "not a header:x"), 2, "`not a header:x` is no header: write NAME:VALUE"),
        (("GetPage", "--header", "x:ü"), 2, "`x:ü` is no header: write NAME:VALUE"),
        (("GetCaller", "--all"), 2, "AuthService/GetCaller answers no pages: leave --all out"),
        (("GetCaller", "--wait"), 2, "AuthService/GetCaller answers no operation: leave --wait out"),
        (("ListRoles", '{"pageSize": -1}'), 6, "page_size: "),
        (("--list", "xylophone"), 2, "no RPC has the word `xylophone`"),
    ],
)
def test_faults_are_told_in_lines(owner: Person, arguments: tuple[str, ...], status: int, words: str) -> None:
    found, said = owner.fault("call", *arguments)
    assert words in said
    assert (found, said[:8]) == (status, "plinth: ")


@pytest.mark.parametrize("arguments", [("call", "GetCaller", "--timeout", "0"), ("tail", "--count", "0")])
def test_numbers_of_options_are_above_zero(owner: Person, arguments: tuple[str, ...]) -> None:
    assert owner.fault(*arguments)[1].endswith("0 is not above 0\n")


def test_a_server_that_is_away_is_told_so(person: Person) -> None:
    status, words = person.fault("call", "GetHealth", "--timeout", "1", PLINTH_CLIENT_URL="http://127.0.0.1:1")
    assert status == 7
    assert words.startswith("plinth: UNAVAILABLE: ")


def test_a_refusal_names_code_reason_and_request(owner: Person, tenant: Tenant) -> None:
    which = json.dumps({"tenantId": tenant.id, "pageId": tenant.id})
    status, words = owner.fault("call", "GetPage", which)
    assert status == 6
    assert words.startswith("plinth: NOT_FOUND RESOURCE_NOT_FOUND: ")
    assert "\n  request " in words


def test_rpcs_are_listed_and_described(person: Person) -> None:
    listed = person.run("call", "--list", "publish").stdout
    assert "sites.PageService/PublishPage" in listed
    assert "Publishes a page" in listed
    described = person.run("call", "UpdatePage", "--describe").stdout
    for words in (
        "Request: UpdatePageRequest",
        "  pageId: string",
        "  page: Page",
        "Answer: Page",
        "plinth call sites.PageService/UpdatePage '{",
    ):
        assert words in described


def test_every_rpc_is_described_with_a_request_that_can_be_read(person: Person) -> None:
    """In one program, since a hundred would take a minute."""
    script = (
        "import json\n"
        "from plinth.client.command.contract import Contract\n"
        "from plinth.client.command.describing import describe\n"
        "from plinth.client.json_messages import message_of\n"
        "contract = Contract.installed()\n"
        "for method in contract.methods:\n"
        "    line = describe(contract, method).splitlines()[-1]\n"
        '    request = json.loads(line.partition(" \'")[2][:-1])\n'
        "    kind = contract.rpc(method).request\n"
        "    assert set(request) == {field.json_name for field in kind.DESCRIPTOR.fields}, method\n"
        "print(len(contract.methods))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=person.environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.parametrize("arguments", [("call", "--list"), ("policy",), ("settings",)])
def test_a_reader_that_goes_is_no_fault(person: Person, arguments: tuple[str, ...]) -> None:
    with person.start(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
        assert process.stderr.read() == ""


def test_a_full_disk_is_told_in_a_line(person: Person) -> None:
    with Path("/dev/full").open("w") as full, person.start("call", "--list", stdout=full) as process:
        words = process.communicate()[1]
    assert (process.returncode, words) == (1, "plinth: standard output: No space left on device\n")


def test_the_client_is_called_without_the_server(owner: Person) -> None:
    """`plinth call` imports nothing of it, and the client alone has the same commands."""
    script = "import sys, server.__main__ as m\nsys.argv = ['plinth', 'call', 'GetCaller']\nm.main()\n"
    script += (
        "assert not [name for name in sys.modules if name.startswith(('sqlalchemy', 'pydantic', 'server.settings'))]"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=owner.environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    alone = subprocess.run(
        [sys.executable, "-m", "plinth.client", "call", "GetCaller"],
        capture_output=True, text=True, check=False, env=owner.environment, timeout=60,
    )  # fmt: skip
    assert json.loads(alone.stdout) == json.loads(done.stdout)


def test_tail_shows_events_as_they_happen_and_goes_on_after_one(owner: Person, tenant: Tenant) -> None:
    process = owner.start("tail", "--types", "page.*", "--json", "--count", "2")
    # Events before the stream has opened are not shown: make pages until two were seen.
    wait_for(lambda: tenant.rest.post(f"{tenant.path}/pages", {"title": "Live"}) and process.poll() is not None)
    said = process.communicate()
    assert process.returncode == 0, said
    first, second = (json.loads(line) for line in said[0].splitlines())
    assert (first["type"], first["payload"]["title"]) == ("page.created", "Live")
    assert first["payload"]["id"] == first["resourceId"]
    again = owner.run("tail", "--since", first["id"], "--count", "1").stdout
    assert second["resourceId"] in again
    assert second["id"] in again


def test_tail_goes_on_when_its_token_expires(owner: Person, tenant: Tenant) -> None:
    """It renews the session in the file that all commands share, and misses nothing meanwhile."""
    owner.shorten(tenant, 5)
    before = owner.stored["profiles"]["default"]["refresh_token"]
    process = owner.start("tail", "--json", "--types", "page.created", "--count", "1")
    wait_for(lambda: owner.stored["profiles"]["default"]["refresh_token"] != before, timeout=60)
    wait_for(lambda: tenant.rest.post(f"{tenant.path}/pages", {"title": "Live"}) and process.poll() is not None)
    out, words = process.communicate()
    assert process.returncode == 0, words
    assert json.loads(out)["type"] == "page.created"


def test_a_call_whose_token_expires_is_made_once(owner: Person, tenant: Tenant) -> None:
    owner.shorten(tenant, 60, age=3600)
    request = json.dumps({"tenantId": tenant.id, "page": {"title": "Once"}})
    made = owner.answer("call", "CreatePage", request)
    pages = tenant.rest.get(f"{tenant.path}/pages").json()["pages"]
    assert [page["id"] for page in pages] == [made["id"]]


def test_ctrl_c_ends_a_stream_without_a_word(owner: Person, tenant: Tenant) -> None:
    with owner.start("tail") as process:
        watched = psutil.Process(process.pid)
        # It has called by then, and waits for events.
        wait_for(lambda: [each for each in watched.net_connections() if each.raddr[1:] == (tenant.stack.port,)])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.communicate() == ("", "")
