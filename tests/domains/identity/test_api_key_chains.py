"""Keys that keys make: bounded by their makers, recorded with them, and ended with them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plinth.identity.v1.api_key_pb2 import ApiKey, CreateApiKeyRequest

from server.domains.identity.api_key_chains import MOST_ANCESTORS
from tests.clients import Rest, Tenant, database, new_member, problem, reason, refused, stubs
from tests.domains.events import events_of
from tests.domains.identity.test_api_keys import (
    READ,
    WORKERS,
    ask_worker,
    grant_refusal,
    make,
    path,
    rotate,
    use,
    works,
)
from tests.domains.platform import new_platform_admin
from tests.guard.locks import Lock

MAKE, ROTATE = "identity.api_keys.create", "identity.api_keys.rotate"


def by(tenant: Tenant, key: dict[str, Any]) -> Rest:
    """What calls with this key."""
    return Rest(tenant.stack, key["key"])


def child(tenant: Tenant, maker: dict[str, Any], *permissions: str, **facts: Any) -> dict[str, Any]:
    """A key that a key makes."""
    return make(tenant, *(permissions or (READ,)), rest=by(tenant, maker), **facts)


def later(**distance: float) -> str:
    return (datetime.now(UTC) + timedelta(**distance)).isoformat()


def excess(answer: Any) -> str:
    """The field by which a key would exceed its maker."""
    assert reason(answer) == (403, "GRANT_EXCEEDS_OWN")
    return problem(answer).metadata["field"]


def seen(tenant: Tenant, key: dict[str, Any]) -> dict[str, Any]:
    """A key as its tenant sees it now."""
    found: dict[str, Any] = tenant.rest.get(path(tenant, key)).json()
    return found


def names(tenant: Tenant, text: str) -> list[str]:
    """The names of the keys that a filter finds, sorted."""
    answer = tenant.rest.get(path(tenant), {"filter": text})
    assert answer.status_code == 200, answer.text
    return sorted(key["name"] for key in answer.json()["apiKeys"])


# Bounds --------------------------------------------------------------------------------------------------------------


def test_a_key_inherits_what_bounds_its_maker(tenant: Tenant) -> None:
    maker = make(tenant, READ, MAKE, expireTime=later(hours=1), callsPerMinute=40)
    made = child(tenant, maker, READ, MAKE)
    assert (made["expireTime"], made["callsPerMinute"]) == (maker["expireTime"], 40)
    grandchild = child(tenant, made)
    assert (grandchild["expireTime"], grandchild["callsPerMinute"]) == (maker["expireTime"], 40)
    free = child(tenant, make(tenant, READ, MAKE))
    assert ("expireTime" in free, free["callsPerMinute"]) == (False, 0)


def test_a_key_may_ask_for_less_than_its_maker_and_not_for_more(tenant: Tenant) -> None:
    maker = make(tenant, READ, MAKE, expireTime=later(hours=1), callsPerMinute=40)
    less = child(tenant, maker, expireTime=later(minutes=30), callsPerMinute=40)
    assert less["expireTime"] < maker["expireTime"]
    assert child(tenant, maker, expireTime=maker["expireTime"])["expireTime"] == maker["expireTime"]
    body = {"name": "n", "permissions": [READ]}
    longer = by(tenant, maker).post(path(tenant), body | {"expireTime": later(hours=2)})
    assert excess(longer) == "expire_time"
    assert problem(longer).metadata["most"].startswith(maker["expireTime"][:19])
    faster = by(tenant, maker).post(path(tenant), body | {"callsPerMinute": 41})
    assert excess(faster) == "calls_per_minute"
    assert problem(faster).metadata["most"] == "40"
    wider = by(tenant, maker).post(path(tenant), body | {"permissions": [READ, "sites.pages.create"]})
    assert grant_refusal(wider) == "sites.pages.create"
    asked = CreateApiKeyRequest(tenant_id=tenant.id, api_key=ApiKey(name="n", permissions=[READ], calls_per_minute=41))
    why = refused(lambda: stubs(tenant.stack, maker["key"]).api_keys.CreateApiKey(asked))
    assert why.reason == "GRANT_EXCEEDS_OWN"


def test_a_secret_that_was_replaced_makes_nothing_that_outlives_it(tenant: Tenant) -> None:
    maker = make(tenant, READ, MAKE, ROTATE)
    until = rotate(tenant, maker, "3600s")["previousExpireTime"]
    assert child(tenant, maker)["expireTime"] == until
    assert excess(by(tenant, maker).post(path(tenant, maker, "rotate"), {})) == "expire_time"


def test_a_key_gets_no_secret_of_one_that_works_longer_or_faster(tenant: Tenant) -> None:
    facts: dict[str, Any] = {"expireTime": later(hours=1), "callsPerMinute": 40}
    rotator = make(tenant, READ, ROTATE, **facts)
    endless, fast = make(tenant, callsPerMinute=40), make(tenant, **facts | {"callsPerMinute": 0})
    assert excess(by(tenant, rotator).post(path(tenant, endless, "rotate"), {})) == "expire_time"
    assert excess(by(tenant, rotator).post(path(tenant, fast, "rotate"), {})) == "calls_per_minute"
    assert works(tenant, endless)
    peer = make(tenant, expireTime=later(minutes=30), callsPerMinute=40)
    for key in (peer, rotator):
        assert by(tenant, rotator).post(path(tenant, key, "rotate"), {}).status_code == 200


def test_keys_share_the_pace_of_the_keys_that_they_go_back_to(tenant: Tenant) -> None:
    maker = make(tenant, READ, MAKE, callsPerMinute=6)
    made = [child(tenant, maker) for _ in range(3)]
    # The three calls that made them are the maker's.
    answers = [use(tenant, key) for key in made * 2]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    why = [problem(answer) for answer in answers if answer.status_code == 429]
    assert why
    assert why[0].metadata == {"rate_class": "default", "limit": "6", "period_seconds": "60", "scope": "api_key"}
    assert use(tenant, maker).status_code == 429


# The chain -----------------------------------------------------------------------------------------------------------


def test_a_key_says_whom_it_goes_back_to(tenant: Tenant) -> None:
    owner = tenant.owner.id
    first = make(tenant, READ, MAKE, name="first")
    second = child(tenant, first, READ, MAKE, name="second")
    third = child(tenant, second, name="third")
    make(tenant, name="other")
    chains = [(key["createUserId"], key["createApiKeyId"], key["ancestorIds"]) for key in (first, second, third)]
    assert chains == [
        (owner, "", []),
        ("", first["id"], [first["id"]]),
        ("", second["id"], [first["id"], second["id"]]),
    ]
    assert {key["originUserId"] for key in (first, second, third)} == {owner}
    assert seen(tenant, third) == third | {"key": ""}
    found = {
        f'create_api_key_id = "{first["id"]}"': ["second"],
        "create_api_key_id:*": ["second", "third"],
        f'create_user_id = "{owner}"': ["first", "other"],
        f'origin_user_id = "{owner}"': ["first", "other", "second", "third"],
    }
    assert {text: names(tenant, text) for text in found} == found


def test_a_chain_has_an_end(tenant: Tenant) -> None:
    key = make(tenant, READ, MAKE)
    for _ in range(MOST_ANCESTORS):
        key = child(tenant, key, READ, MAKE)
    assert len(key["ancestorIds"]) == MOST_ANCESTORS
    answer = by(tenant, key).post(path(tenant), {"name": "n", "permissions": [READ]})
    assert reason(answer) == (409, "LIMIT_REACHED")
    assert problem(answer).metadata == {"limit": str(MOST_ANCESTORS)}


def test_a_revocation_reaches_all_that_goes_back_to_a_key(tenant: Tenant) -> None:
    first, other = make(tenant, READ, MAKE), make(tenant, READ, MAKE)
    second, unrelated = child(tenant, first, READ, MAKE), child(tenant, other)
    third = child(tenant, second)
    below = (second, third)
    for key in below:
        assert [ask_worker(tenant, name, key["key"]) for name in WORKERS] == ["OK"] * 2
    assert tenant.rest.delete(path(tenant, first)).status_code == 204
    for key in (first, *below):
        assert [ask_worker(tenant, name, key["key"]) for name in WORKERS] == ["API_KEY_ENDED"] * 2
        assert seen(tenant, key)["revokeTime"] == seen(tenant, first)["revokeTime"]
        assert seen(tenant, key)["etag"] != key["etag"]
    assert works(tenant, unrelated)
    revoked = [event.resource_id for event in events_of(tenant.stack, tenant.id) if event.type == "api_key.revoked"]
    assert sorted(revoked) == sorted(key["id"] for key in (first, *below))


def test_a_key_whose_ancestor_is_revoked_is_none_whatever_its_own_row_says(tenant: Tenant) -> None:
    first = make(tenant, READ, MAKE)
    made = child(tenant, first, READ, MAKE)
    with database(tenant.stack) as connection:
        connection.execute("UPDATE api_keys SET revoke_time = now() WHERE id = %s", (first["id"],))
        connection.execute("UPDATE tenants SET access_version = access_version + 1 WHERE id = %s", (tenant.id,))
    assert [ask_worker(tenant, name, made["key"]) for name in WORKERS] == ["API_KEY_ENDED"] * 2


# Makers who could not make them any more -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["membership", "role", "permission", "user"])
def test_keys_of_people_who_lost_what_let_them_make_them_are_found(tenant: Tenant, loss: str) -> None:
    account, session = new_member(tenant, "admin")
    admin = Rest(tenant.stack, session.access_token)
    own = make(tenant, READ, MAKE, rest=admin)
    made, mine = child(tenant, own), make(tenant)
    keys = (own, made, mine)
    assert [seen(tenant, key)["exceedsOrigin"] for key in keys] == [False] * 3
    statement = {
        "membership": "DELETE FROM memberships WHERE user_id = %s",
        "role": "UPDATE memberships SET roles = '{editor}' WHERE user_id = %s",
        "permission": "UPDATE memberships SET roles = '{partner}' WHERE user_id = %s",
        "user": "UPDATE users SET delete_time = now() WHERE id = %s",
    }[loss]
    with database(tenant.stack) as connection:
        connection.execute(statement, (account.id,))
    listed = {key["id"]: key["exceedsOrigin"] for key in tenant.rest.get(path(tenant)).json()["apiKeys"]}
    assert listed == {own["id"]: True, made["id"]: True, mine["id"]: False}
    tenant.rest.delete(path(tenant, own))
    assert [seen(tenant, key)["exceedsOrigin"] for key in keys] == [False] * 3


def test_a_key_that_is_revoked_while_it_makes_one_makes_none(tenant: Tenant) -> None:
    maker = make(tenant, READ, MAKE)
    with database(tenant.stack) as connection, ThreadPoolExecutor(1) as threads:
        connection.execute("SELECT FROM api_keys WHERE id = %s FOR UPDATE", (maker["id"],))
        connection.execute("UPDATE api_keys SET revoke_time = now() WHERE id = %s", (maker["id"],))
        body = {"name": "late", "permissions": [READ]}
        late = threads.submit(by(tenant, maker).post, path(tenant), body)
        Lock(tenant.stack, connection).wait_for(1)
        connection.commit()
        assert reason(late.result()) == (401, "API_KEY_ENDED")
    assert names(tenant, 'name = "late"') == []


def test_a_key_of_a_platform_administrator_exceeds_nobody(tenant: Tenant) -> None:
    """They may make any key of any tenant, without being a member."""
    admin = new_platform_admin(tenant.stack)
    made = make(tenant, READ, MAKE, rest=Rest(tenant.stack, admin.access_token))
    assert not seen(tenant, made)["exceedsOrigin"]
    with database(tenant.stack) as connection:
        connection.execute("UPDATE users SET is_platform = false WHERE id = %s", (made["createUserId"],))
    assert seen(tenant, made)["exceedsOrigin"]
