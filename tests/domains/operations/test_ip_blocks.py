"""Blocked addresses: refused from the next call on, by every worker, until the block is lifted or ends by itself."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plinth.identity.v1.api_key_pb2 import ApiKey
from plinth.operations.v1.health_pb2 import GetHealthRequest
from plinth.operations.v1.ip_block_pb2 import CreateIpBlockRequest, DeleteIpBlockRequest, IpBlock, ListIpBlocksRequest

from server.domains.identity.api_keys import new_key
from server.domains.operations.ip_blocks import StoredBlocks
from server.kernel.caching.generations import Generations
from server.kernel.clock import utc_now
from server.kernel.guard.tokens import AccessTokens
from server.secrets import Secrets
from tests.clients import Rest, Tenant, database, new_tenant, problem, reason, refused, rows, sign_up, stubs
from tests.domains.events import events_about
from tests.domains.platform import new_platform_admin
from tests.kernel.database import Database, connections
from tests.limits.guesses import assert_refused_after
from tests.stack import UNLIMITED, Stack

pytestmark = pytest.mark.heavy

BLOCKS = "admin/ip-blocks"
# Enough for both workers to get some: the gateway chooses at random.
OFTEN = 30
WRONG, BLOCKED = (401, "CREDENTIALS_INVALID"), (403, "ADDRESS_BLOCKED")
# What anybody may ask, and is refused to blocked addresses.
EVERYBODYS = "webhook-event-types"
# No address is used twice.
NUMBERS = count()
OWN_BLOCKS = "SELECT FROM ip_blocks WHERE starts_with(network, '127.') OR starts_with(network, '::')"


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Rest:
    """A platform administrator on the shared stack, where nobody calls from the addresses that are blocked."""
    return Rest(stack, new_platform_admin(stack).access_token)


@pytest.fixture(scope="module")
def proxied() -> Iterator[Stack]:
    """A stack behind a proxy, which says in X-Forwarded-For who calls."""
    limits = UNLIMITED | {"auth_failure": "3/900"}
    # However busy the machine is, every failure is counted.
    stack = Stack(trusted_proxies=1, api_workers=2, rate_limits=limits, redis_timeout=5)
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def platform(proxied: Stack) -> Rest:
    """A platform administrator there."""
    return Rest(proxied, new_platform_admin(proxied).access_token)


def ipv4() -> str:
    """Another address of a network for benchmarks."""
    number = next(NUMBERS)
    return f"198.18.{number // 250}.{1 + number % 250}"


def ipv6_network() -> str:
    """The first four groups of other addresses for documentation."""
    return f"2001:db8:77:{1 + next(NUMBERS):x}"


def create(admin: Rest, **block: Any) -> dict[str, Any]:
    """A new block."""
    response = admin.post(BLOCKS, block)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def soon(**distance: float) -> str:
    return (datetime.now(UTC) + timedelta(**distance)).isoformat()


def calls_from(stack: Stack, address: str, token: str | None = None) -> list[httpx.Response]:
    """What several calls from an address are answered."""
    path = "auth/me" if token else EVERYBODYS
    return [Rest(stack, token).get(path, headers={"x-forwarded-for": address}) for _ in range(OFTEN)]


def is_blocked(stack: Stack, address: str, token: str | None = None) -> bool:
    """Whether calls from an address are refused. All of them are, or none."""
    responses = calls_from(stack, address, token)
    blocked = {response.status_code != 200 for response in responses}
    assert len(blocked) == 1, [response.status_code for response in responses]
    if blocked == {True}:
        assert {reason(response) for response in responses} == {(403, "ADDRESS_BLOCKED")}
    return blocked == {True}


# Managing blocks -----------------------------------------------------------------------------------------------------


def test_a_block_is_made_listed_and_lifted(admin: Rest) -> None:
    address, until = ipv4(), soon(days=1)
    response = admin.post(BLOCKS, {"network": address, "reason": "spam", "expireTime": until, "automatic": False})
    assert response.status_code == 201
    block = response.json()
    assert block == block | {"network": f"{address}/32", "reason": "spam", "automatic": False}
    assert datetime.fromisoformat(block["expireTime"]) == datetime.fromisoformat(until)
    listed = admin.get(BLOCKS, {"filter": f'network = "{address}/32"', "include_total": "true"}).json()
    assert (listed["ipBlocks"], listed["totalSize"]) == ([block], 1)
    newer = create(admin, network=ipv4())
    both = {"filter": f"id = {newer['id']} OR id = {block['id']}"}
    assert admin.get(BLOCKS, both).json()["ipBlocks"] == [newer, block]
    assert admin.get(BLOCKS, both | {"order_by": "create_time"}).json()["ipBlocks"] == [block, newer]
    assert admin.delete(f"{BLOCKS}/{block['id']}", headers={"if-match": 'W/"stale"'}).status_code == 412
    assert admin.delete(f"{BLOCKS}/{block['id']}", headers={"if-match": block["etag"]}).status_code == 204
    assert reason(admin.delete(f"{BLOCKS}/{block['id']}")) == (404, "RESOURCE_NOT_FOUND")
    assert admin.get(BLOCKS, {"filter": f'network = "{address}/32"'}).json().get("ipBlocks", []) == []


def test_a_block_over_grpc(stack: Stack) -> None:
    admin = stubs(stack, new_platform_admin(stack).access_token).ip_blocks
    block = admin.CreateIpBlock(CreateIpBlockRequest(ip_block=IpBlock(network=ipv4())))
    assert not block.HasField("expire_time")
    listed = admin.ListIpBlocks(ListIpBlocksRequest(filter=f'id = "{block.id}"'))
    assert list(listed.ip_blocks) == [block]
    admin.DeleteIpBlock(DeleteIpBlockRequest(ip_block_id=block.id, etag=block.etag))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("198.51.100.7", "198.51.100.7/32"),
        ("198.51.100.77/24", "198.51.100.0/24"),
        ("198.51.101.0/255.255.255.0", "198.51.101.0/24"),
        ("198.0.0.0/8", "198.0.0.0/8"),
        ("2001:DB8:0:0::1", "2001:db8::1/128"),
        ("2001:db8:1::/48", "2001:db8:1::/48"),
        ("3fff::/16", "3fff::/16"),
        ("::ffff:198.51.100.8", "198.51.100.8/32"),
        ("::ffff:198.51.102.9/120", "198.51.102.0/24"),
    ],
)
def test_a_network_is_kept_in_its_canonical_form(admin: Rest, written: str, kept: str) -> None:
    block = create(admin, network=written)
    assert block["network"] == kept
    assert reason(admin.post(BLOCKS, {"network": kept})) == (409, "RESOURCE_TAKEN")
    assert problem(admin.post(BLOCKS, {"network": written})).metadata["field"] == "network"
    admin.delete(f"{BLOCKS}/{block['id']}")


@pytest.mark.parametrize(
    ("network", "rule"),
    [
        ("", "required"),
        *((wrong, "ip_block.network.form") for wrong in ("nobody", "1.2.3", "1.2.3.4/33", "1.2.3.4 ", "fe80::1%eth0")),
        *((wide, "ip_block.network.width") for wide in ("0.0.0.0/0", "8.0.0.0/7", "::/0", "2001::/15")),
        *((wide, "ip_block.network.width") for wide in ("::ffff:0.0.0.0/96", "::ffff:8.0.0.0/103")),
        *(
            (own, "ip_block.network.loopback")
            for own in ("127.0.0.1", "127.0.0.0/8", "::1", "::/16", "::ffff:127.1.2.3")
        ),
        ("1" * 65, "string.max_len"),
    ],
)
def test_a_network_that_breaks_a_rule_is_refused(admin: Rest, network: str, rule: str) -> None:
    response = admin.post(BLOCKS, {"network": network})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"network"}
    assert problem(response).rules == (rule,)


@pytest.mark.parametrize(
    "moment", [Timestamp(), Timestamp(seconds=10**15), Timestamp(seconds=-(10**15)), Timestamp(seconds=2**33, nanos=-1)]
)
def test_a_block_does_not_end_before_it_begins(stack: Stack, moment: Timestamp) -> None:
    admin = stubs(stack, new_platform_admin(stack).access_token).ip_blocks
    request = CreateIpBlockRequest(ip_block=IpBlock(network=ipv4(), expire_time=moment))
    why = refused(lambda: admin.CreateIpBlock(request))
    assert (why.reason, why.rules) == ("RULE_VIOLATED", ("ip_block.expire_time.future",))
    assert set(why.violations) == {"ip_block.expire_time"}


def test_every_rule_that_is_broken_is_named(admin: Rest) -> None:
    response = admin.post(BLOCKS, {"network": "nobody", "expireTime": soon(seconds=-1)})
    assert set(problem(response).violations) == {"network", "expireTime"}


def test_the_last_moment_there_is_ends_a_block(admin: Rest) -> None:
    block = create(admin, network=ipv4(), expireTime="9999-12-31T23:59:59.999999999Z")
    assert block["expireTime"] == "9999-12-31T23:59:59.999999Z"
    assert admin.delete(f"{BLOCKS}/{block['id']}").status_code == 204


def test_a_block_that_has_ended_makes_room_for_a_new_one(stack: Stack, admin: Rest) -> None:
    address = ipv4()
    old = create(admin, network=address, expireTime=soon(hours=1))
    assert reason(admin.post(BLOCKS, {"network": address})) == (409, "RESOURCE_TAKEN")
    with database(stack) as connection:
        connection.execute("UPDATE ip_blocks SET expire_time = now() WHERE id = %s", (old["id"],))
    new = create(admin, network=address)
    assert new["id"] != old["id"]
    assert "expireTime" not in new
    assert len(rows(stack, "SELECT FROM ip_blocks WHERE network = %s", new["network"])) == 1
    admin.delete(f"{BLOCKS}/{new['id']}")


def test_each_change_leaves_its_event(stack: Stack, admin: Rest) -> None:
    block = create(admin, network=ipv4())
    admin.delete(f"{BLOCKS}/{block['id']}")
    events = events_about(stack, block["network"])
    assert [(event.type, event.resource_id) for event in events] == [
        ("ip_block.created", block["id"]),
        ("ip_block.deleted", block["id"]),
    ]


def test_only_platform_administrators_manage_blocks(stack: Stack, first_tenant: Tenant) -> None:
    for rest, expected in (
        (Rest(stack), (401, "CREDENTIALS_MISSING")),
        (first_tenant.rest, (403, "PERMISSION_MISSING")),
    ):
        calls = [
            rest.get(BLOCKS),
            rest.post(BLOCKS, {"network": ipv4()}),
            rest.delete(f"{BLOCKS}/01890000-0000-7000-8000-000000000000"),
        ]
        assert [reason(response) for response in calls] == [expected] * 3


# What a block does ---------------------------------------------------------------------------------------------------


def test_a_block_holds_from_the_next_call_on_until_it_is_lifted(proxied: Stack, platform: Rest) -> None:
    address = ipv4()
    for _ in range(3):
        assert not is_blocked(proxied, address)
        block = create(platform, network=address)
        assert is_blocked(proxied, address)
        assert platform.delete(f"{BLOCKS}/{block['id']}").status_code == 204
    assert not is_blocked(proxied, address)


def test_a_block_holds_for_its_network_and_for_whoever_calls_from_it(proxied: Stack, platform: Rest) -> None:
    third = secrets.randbelow(256)
    inside, outside = f"100.64.{third}.9", f"100.65.{third}.9"
    token = new_tenant(proxied).access_token
    block = create(platform, network=f"100.64.{third}.0/24")
    assert is_blocked(proxied, inside)
    assert is_blocked(proxied, inside, token)
    assert not is_blocked(proxied, outside, token)
    platform.delete(f"{BLOCKS}/{block['id']}")
    assert not is_blocked(proxied, inside, token)


def test_a_private_address_is_blocked_like_any_other(proxied: Stack, platform: Rest) -> None:
    address = f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.9"
    create(platform, network=address)
    assert is_blocked(proxied, address)


def test_a_block_of_ipv6(proxied: Stack, platform: Rest) -> None:
    network = ipv6_network()
    create(platform, network=f"{network}::/64")
    assert is_blocked(proxied, f"{network}:1:2:3:4")
    assert not is_blocked(proxied, f"{ipv6_network()}:1:2:3:4")


def test_who_is_blocked_is_told_until_when(proxied: Stack, platform: Rest) -> None:
    address = ipv4()
    block = create(platform, network=address, expireTime=soon(hours=1))
    for response in calls_from(proxied, address):
        told = problem(response).metadata["expire_time"]
        assert datetime.fromisoformat(told) == datetime.fromisoformat(block["expireTime"])


def test_a_block_ends_by_itself(proxied: Stack, platform: Rest) -> None:
    address = ipv4()
    end = datetime.now(UTC) + timedelta(seconds=5)
    create(platform, network=address, expireTime=end.isoformat())
    rest = Rest(proxied)
    proxied.wait_for(lambda: rest.get(EVERYBODYS, headers={"x-forwarded-for": address}).status_code == 200)
    assert datetime.now(UTC) >= end
    assert not is_blocked(proxied, address)


def test_a_stream_is_refused_too(proxied: Stack, platform: Rest) -> None:
    address, tenant = ipv4(), new_tenant(proxied)
    create(platform, network=address)
    response = tenant.rest.get(f"{tenant.path}/pages/stream", headers={"x-forwarded-for": address})
    assert reason(response) == (403, "ADDRESS_BLOCKED")


def test_an_address_that_nobody_vouches_for_means_nothing(proxied: Stack, platform: Rest) -> None:
    """The proxy vouches for the last address alone; what stands before it comes from the client."""
    blocked, other = ipv4(), ipv4()
    create(platform, network=blocked)
    assert not is_blocked(proxied, f"{blocked}, {other}")
    assert is_blocked(proxied, f"{other}, {blocked}")


def test_without_a_proxy_the_header_means_nothing(stack: Stack, admin: Rest) -> None:
    address = ipv4()
    block = create(admin, network=address)
    assert not is_blocked(stack, address)
    admin.delete(f"{BLOCKS}/{block['id']}")


# Blocks that come by themselves --------------------------------------------------------------------------------------


def guess(stack: Stack, address: str, email: str, times: int) -> list[tuple[int, str]]:
    """What wrong passwords are answered, each of them another one."""
    return [wrong_password(stack, address, email, secrets.token_hex(8)) for _ in range(times)]


def wrong_password(stack: Stack, address: str, email: str, password: str) -> tuple[int, str]:
    """What a wrong password is answered."""
    body = {"email": email, "password": password}
    return reason(Rest(stack).post("auth/login", body, headers={"x-forwarded-for": address}))


def stored(stack: Stack, network: str) -> dict[str, Any]:
    """The only block of a network."""
    (row,) = rows(stack, "SELECT *, now() AS now FROM ip_blocks WHERE network = %s", network)
    return row


def test_who_fails_to_sign_in_too_often_is_blocked_for_an_hour(proxied: Stack, platform: Rest) -> None:
    account = sign_up(proxied)
    address, neighbour = "203.0.113.8", "203.0.113.9"
    before = datetime.now(UTC)
    # Three are let pass, the fourth is one too many, and what comes after it is refused.
    assert_refused_after(4, guess(proxied, address, account.email, 6), WRONG, BLOCKED)
    assert is_blocked(proxied, address)
    assert not is_blocked(proxied, neighbour)
    block = stored(proxied, f"{address}/32")
    assert (block["automatic"], block["reason"]) == (True, "repeated failures to authenticate")
    (entry,) = rows(proxied, "SELECT * FROM audit_entries WHERE resource_id = %s", str(block["id"]))
    assert (entry["actor_kind"], entry["action"], entry["security"]) == (3, "ip_block.created", True)
    # The address is personal.
    assert address in entry["personal"]
    assert address not in entry["changes"]
    (event,) = rows(proxied, "SELECT * FROM events WHERE id = %s", entry["event_id"])
    assert (event["type"], event["resource_id"]) == ("ip_block.created", str(block["id"]))
    hour = timedelta(hours=1)
    assert before + hour <= block["expire_time"] <= block["now"] + hour
    assert platform.delete(f"{BLOCKS}/{block['id']}").status_code == 204
    right = {"email": account.email, "password": account.password}
    response = Rest(proxied).post("auth/login", right, headers={"x-forwarded-for": address})
    assert response.status_code == 200


def test_ipv6_is_blocked_with_all_that_one_subscriber_has(proxied: Stack) -> None:
    network = ipv6_network()
    guess(proxied, f"{network}::1", "nobody.v6@example.com", 5)
    assert stored(proxied, f"{network}::/64")["automatic"]
    assert is_blocked(proxied, f"{network}:ffff::2")


def test_ipv6_is_blocked_in_steps_when_guesses_come_from_ever_new_networks(proxied: Stack) -> None:
    site = f"2001:db8:{0x1000 + next(NUMBERS):x}"
    # Three failures in a /64 are let pass, and four times as many in a /56.
    answers = [guess(proxied, f"{site}:{number:x}::1", f"nobody{number}@example.com", 1)[0] for number in range(15)]
    assert_refused_after(13, answers, WRONG, BLOCKED)
    assert stored(proxied, f"{site}::/56")["automatic"]
    assert is_blocked(proxied, f"{site}:ff::2")
    assert not is_blocked(proxied, f"{site}:100::2")


def test_an_ipv4_address_that_is_written_as_ipv6_is_blocked_as_what_it_is(proxied: Stack) -> None:
    address = ipv4()
    guess(proxied, f"::ffff:{address}", "nobody.v4@example.com", 5)
    assert stored(proxied, f"{address}/32")["automatic"]
    assert is_blocked(proxied, address)


def test_what_probes_ask_is_answered_to_blocked_addresses_too(proxied: Stack, platform: Rest) -> None:
    address = ipv4()
    create(platform, network=address)
    assert is_blocked(proxied, address)
    for path in ("health", "/.well-known/jwks.json"):
        assert Rest(proxied).get(path, headers={"x-forwarded-for": address}).status_code == 200
    assert stubs(proxied, x_forwarded_for=address).health.GetHealth(GetHealthRequest())
    with grpc.insecure_channel(proxied.target) as channel:
        make_stub: Any = health_pb2_grpc.HealthStub
        check = make_stub(channel).Check
        answer = check(health_pb2.HealthCheckRequest(), metadata=[("x-forwarded-for", address)], timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


# One dead credential -------------------------------------------------------------------------------------------------


def dead_credential(tenant: Tenant, kind: str) -> tuple[str, str]:
    """Header and value of a credential that is not good any more, by what became of it."""
    if kind == "nonsense":
        return "authorization", "Bearer no"
    path = f"{tenant.path}/api-keys"
    if kind in ("revoked key", "replaced key"):
        key = tenant.rest.post(path, {"name": "n", "permissions": ["sites.pages.read"]}).json()
        where = f"{path}/{key['id']}"
        assert (
            tenant.rest.delete(where) if kind == "revoked key" else tenant.rest.post(f"{where}/rotate", {})
        ).is_success
        return "x-api-key", key["key"]
    settings = tenant.stack.settings
    secret = b"of another time" if kind == "token of another secret" else settings.secret
    issuer = "another.example" if kind == "token of another issuer" else settings.token_issuer
    age = timedelta(hours=1 if kind == "expired token" else 0)
    ours = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=900).verify(tenant.access_token)
    token = AccessTokens(Secrets(secret), issuer=issuer, lifetime=900, clock=lambda: utc_now() - age).issue(ours)
    return "authorization", f"Bearer {token}"


@pytest.mark.parametrize(
    "kind",
    ["revoked key", "replaced key", "expired token", "token of another secret", "token of another issuer", "nonsense"],
)
def test_one_dead_credential_blocks_nobody(proxied: Stack, kind: str) -> None:
    address, tenant = ipv4(), new_tenant(proxied)
    header, value = dead_credential(tenant, kind)
    for _ in range(25):
        answer = Rest(proxied).get(f"{tenant.path}/pages", headers={"x-forwarded-for": address, header: value})
        assert answer.status_code == 401
    assert not is_blocked(proxied, address, tenant.access_token)


def test_one_dead_refresh_token_or_password_blocks_nobody(proxied: Stack) -> None:
    address, account = ipv4(), sign_up(proxied)
    for _ in range(25):
        answer = Rest(proxied).post("auth/refresh", {"refreshToken": "no"}, headers={"x-forwarded-for": address})
        assert reason(answer) == (401, "CREDENTIALS_INVALID")
    other = ipv4()
    for _ in range(6):
        assert wrong_password(proxied, other, account.email, "Old-Password-1")[0] in (401, 429)
    assert not is_blocked(proxied, address)
    assert not is_blocked(proxied, other)


def test_tokens_that_our_own_key_signed_are_no_guesses_however_many(proxied: Stack) -> None:
    address, tenant = ipv4(), new_tenant(proxied)
    settings = tenant.stack.settings
    ours = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=900).verify(tenant.access_token)
    for lifetime in range(900, 908):
        token = AccessTokens(settings.secrets, issuer="another.example", lifetime=lifetime).issue(ours)
        answer = Rest(proxied, token).get("auth/me", headers={"x-forwarded-for": address})
        assert reason(answer) == (401, "CREDENTIALS_INVALID")
    assert not is_blocked(proxied, address)


def test_tokens_and_keys_that_are_made_up_count_as_guesses(proxied: Stack) -> None:
    address = ipv4()
    answers = [
        reason(Rest(proxied, f"made-up-{number}").get("auth/me", headers={"x-forwarded-for": address}))
        for number in range(6)
    ]
    assert_refused_after(4, answers, WRONG, BLOCKED)
    address, keys = ipv4(), [new_key(ApiKey.ENVIRONMENT_LIVE) for _ in range(6)]
    answers = [reason(Rest(proxied, key).get("auth/me", headers={"x-forwarded-for": address})) for key in keys]
    assert_refused_after(4, answers, WRONG, BLOCKED)


def test_calls_without_credentials_are_no_guesses(proxied: Stack) -> None:
    address = ipv4()
    for _ in range(10):
        response = Rest(proxied).get("auth/me", headers={"x-forwarded-for": address})
        assert reason(response) == (401, "CREDENTIALS_MISSING")
    assert not is_blocked(proxied, address)


def test_this_machine_is_never_blocked_by_itself(proxied: Stack) -> None:
    for address in ("127.0.0.1", "::1"):
        answers = [guess(proxied, address, f"nobody.at{number}@example.com", 1)[0] for number in range(6)]
        assert answers == [(401, "CREDENTIALS_INVALID")] * 6
    assert rows(proxied, OWN_BLOCKS) == []


# What is stored ------------------------------------------------------------------------------------------------------


@pytest.fixture
def blocks(stack: Stack, tmp_path: Path) -> Iterator[StoredBlocks]:
    """The blocks of the shared stack, as a worker of another host would have them."""
    generations = Generations(tmp_path / "generations")
    generations.open()
    with connections(stack.settings.runtime_dsn) as pool:
        yield StoredBlocks(Database(pool), generations)


@pytest.mark.parametrize(
    ("expiry", "is_prolonged"),
    [("now() + interval '10 minutes'", True), ("now() + interval '2 hours'", False), ("NULL", False)],
)
def test_a_block_that_is_there_is_only_prolonged(
    stack: Stack,
    admin: Rest,
    blocks: StoredBlocks,
    expiry: str,
    is_prolonged: bool,  # noqa: FBT001 - a fact of the table
) -> None:
    address = ipv4()
    made = create(admin, network=address, reason="by hand")
    rows(stack, f"UPDATE ip_blocks SET expire_time = {expiry} WHERE id = %s RETURNING id", made["id"])
    before = stored(stack, f"{address}/32")
    blocks.block(address)
    after = stored(stack, f"{address}/32")
    assert (str(after["id"]), after["reason"], after["automatic"]) == (made["id"], "by hand", False)
    assert (after["expire_time"] != before["expire_time"]) is is_prolonged
    if is_prolonged:
        assert after["expire_time"] > before["expire_time"]
        assert after["version"] == before["version"] + 1


def test_a_block_that_has_ended_gives_way_to_an_automatic_one(stack: Stack, admin: Rest, blocks: StoredBlocks) -> None:
    address = ipv4()
    made = create(admin, network=address, reason="by hand")
    rows(stack, "UPDATE ip_blocks SET expire_time = now() WHERE id = %s RETURNING id", made["id"])
    blocks.block(f"::ffff:{address}")
    after = stored(stack, f"{address}/32")
    assert (after["automatic"], after["reason"]) == (True, "repeated failures to authenticate")


def test_only_blocks_that_hold_are_loaded(stack: Stack, admin: Rest, blocks: StoredBlocks) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    ended, lasting, ending = (create(admin, network=ipv4()) for _ in range(3))
    rows(stack, "UPDATE ip_blocks SET expire_time = now() WHERE id = %s RETURNING id", ended["id"])
    rows(stack, "UPDATE ip_blocks SET expire_time = %s WHERE id = %s RETURNING id", until, ending["id"])
    loaded = {str(network): expiry for network, expiry in blocks.load()}
    assert loaded[lasting["network"]] is None
    assert loaded[ending["network"]] == until
    assert ended["network"] not in loaded


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "nobody"])
def test_neither_this_machine_nor_nonsense_is_blocked(stack: Stack, blocks: StoredBlocks, address: str) -> None:
    blocks.block(address)
    assert rows(stack, OWN_BLOCKS) == []


def test_a_database_that_is_away_costs_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    generations = Generations(tmp_path / "generations")
    generations.open()
    with connections(f"postgresql:///nowhere?host={tmp_path}", wait=0.1) as pool:
        StoredBlocks(Database(pool), generations).block("198.18.0.1")
    assert "the address 198.18.0.1 cannot be blocked" in caplog.text
