"""Feature flags through their doors: what is refused, OpenFeature's own providers, and what evaluations tell."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, OpenFeatureError, TargetingKeyMissingError
from openfeature.flag_evaluation import FlagResolutionDetails, Reason

from tests.clients import Rest, Tenant, database, new_member, new_tenant, problem, reason, unique
from tests.domains.flags.instances import new_flag
from tests.stack import Stack, wait_for

FLAGS = "/api/v1/feature-flags"
EVALUATE = "/api/v1/ofrep/v1/evaluate/flags"


def flag(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    """A new flag that is on."""
    response = tenant.rest.post(FLAGS, new_flag(enabled=True) | fields)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def provider(tenant: Tenant, token: str = "") -> OFREPProvider:
    """OpenFeature's own, of Python."""
    headers = {"Authorization": f"Bearer {token or tenant.access_token}"}
    return OFREPProvider(f"http://127.0.0.1:{tenant.stack.port}/api/v1", headers_factory=lambda: headers)


def boolean(ofrep: OFREPProvider, key: str, who: EvaluationContext | None = None) -> FlagResolutionDetails[bool]:
    """What the provider says; the program's own default is false."""
    return ofrep.resolve_boolean_details(flag_key=key, default_value=False, evaluation_context=who)


def evaluated(tenant: Tenant, key: str, context: dict[str, Any] | None = None) -> httpx.Response:
    return tenant.rest.post(f"{EVALUATE}/{key}", {"context": context or {}})


def test_a_flag_without_more_is_on_or_off(tenant: Tenant) -> None:
    made = tenant.rest.post(FLAGS, new_flag()).json()
    assert [variant["name"] for variant in made["variants"]] == ["on", "off"]
    assert evaluated(tenant, made["key"]).json() == {
        "key": made["key"], "reason": "DISABLED", "variant": "off", "value": False,
    }  # fmt: skip
    tenant.rest.patch(f"{FLAGS}/{made['id']}", {"enabled": True})
    # By the next evaluation, whichever worker answers it.
    for _ in range(6):
        assert evaluated(tenant, made["key"]).json()["value"] is True


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "KIND_STRING"}, "variants"),
        ({"kind": "KIND_NUMBER", "variants": [{"name": "a", "value": "1"}], "offVariant": "a"}, "variants[0].value"),
        ({"offVariant": "neither"}, "offVariant"),
        ({"defaultServing": {"variant": "neither"}}, "defaultServing.variant"),
        ({"defaultServing": {"shares": [{"variant": "on", "weight": 9999}]}}, "defaultServing.shares"),
        ({"defaultServing": {"variant": "on", "shares": [{"variant": "on", "weight": 10000}]}}, "defaultServing"),
        ({"prerequisites": [{"key": "absent", "variant": "on"}]}, "prerequisites[0].key"),
        ({"enableTime": "2026-11-29T00:00:00Z", "disableTime": "2026-11-29T00:00:00Z"}, "disableTime"),
        (
            {
                "rules": [
                    {
                        "conditions": [{"attribute": "a", "operator": "OPERATOR_EQUALS"}],
                        "serving": {"variant": "on"},
                    }
                ]
            },
            "rules[0].conditions[0].values",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(tenant: Tenant, fields: dict[str, Any], field: str) -> None:
    refused = tenant.rest.post(FLAGS, new_flag() | fields)
    assert reason(refused) == (422, "RULE_VIOLATED")
    assert field in problem(refused).violations


def test_shares_take_the_place_of_a_variant_and_back(tenant: Tenant) -> None:
    path = f"{FLAGS}/{flag(tenant)['id']}"
    shares = [{"variant": "on", "weight": 10_000}]
    drawn = tenant.rest.patch(path, {"defaultServing": {"shares": shares}}).json()
    assert drawn["defaultServing"] == {"variant": "", "shares": shares, "unit": ""}
    fixed = tenant.rest.patch(path, {"defaultServing": {"variant": "off"}}).json()
    assert fixed["defaultServing"] == {"variant": "off", "shares": [], "unit": ""}


def test_prerequisites_lead_nowhere_twice_and_stay(tenant: Tenant) -> None:
    base = flag(tenant)
    middle = flag(tenant, prerequisites=[{"key": base["key"], "variant": "on"}])
    top = flag(tenant, prerequisites=[{"key": middle["key"], "variant": "on"}])
    assert evaluated(tenant, top["key"]).json()["value"] is True
    back = tenant.rest.patch(f"{FLAGS}/{base['id']}", {"prerequisites": [{"key": top["key"], "variant": "on"}]})
    assert list(problem(back).violations) == ["prerequisites[0].key"]
    assert reason(tenant.rest.delete(f"{FLAGS}/{base['id']}")) == (409, "REFERENCE_INVALID")
    tenant.rest.patch(f"{FLAGS}/{base['id']}", {"enabled": False})
    assert evaluated(tenant, top["key"]).json()["reason"] == "DISABLED"
    assert tenant.rest.delete(f"{FLAGS}/{top['id']}").status_code == 204
    assert evaluated(tenant, top["key"]).status_code == 404


def test_a_chain_of_prerequisites_has_an_end(tenant: Tenant) -> None:
    key = flag(tenant)["key"]
    for _ in range(10):
        key = flag(tenant, prerequisites=[{"key": key, "variant": "on"}])["key"]
    assert evaluated(tenant, key).json()["value"] is True
    refused = tenant.rest.post(FLAGS, new_flag(prerequisites=[{"key": key, "variant": "on"}]))
    assert problem(refused).rules == ("prerequisite.chain",)


def test_openfeature_s_provider_gets_values_of_every_kind(tenant: Tenant) -> None:
    values = {"KIND_STRING": "blue", "KIND_NUMBER": 7, "KIND_OBJECT": {"sizes": [1, 2.5], "deep": {"a": None}}}
    keys = {}
    for kind, value in values.items():
        variants = [{"name": "it", "value": value}]
        described = {"kind": kind, "variants": variants, "offVariant": "it", "defaultServing": {"variant": "it"}}
        keys[kind] = flag(tenant, **described)["key"]
    ofrep = provider(tenant)
    assert ofrep.resolve_string_details(keys["KIND_STRING"], "").value == "blue"
    assert ofrep.resolve_integer_details(keys["KIND_NUMBER"], 0).value == 7
    assert ofrep.resolve_object_details(keys["KIND_OBJECT"], {}).value == values["KIND_OBJECT"]


def test_openfeature_s_provider_targets_and_splits(tenant: Tenant) -> None:
    shares = [{"variant": "on", "weight": 5_000}, {"variant": "off", "weight": 5_000}]
    condition = {"attribute": "country", "operator": "OPERATOR_EQUALS", "values": ["ES"]}
    rules = [{"conditions": [condition], "serving": {"variant": "off"}}]
    key = flag(tenant, rules=rules, defaultServing={"shares": shares})["key"]
    ofrep = provider(tenant)
    spain = boolean(ofrep, key, EvaluationContext("ann", {"country": "ES"}))
    assert (spain.value, spain.reason, spain.variant) == (False, Reason.TARGETING_MATCH, "off")
    people = [EvaluationContext(f"user-{number}") for number in range(40)]
    first = [boolean(ofrep, key, each) for each in people]
    assert {each.reason for each in first} == {Reason.SPLIT}
    assert {each.value for each in first} == {True, False}
    assert [each.value for each in first] == [boolean(ofrep, key, each).value for each in people]
    with pytest.raises(TargetingKeyMissingError):
        boolean(ofrep, key)
    with pytest.raises(FlagNotFoundError):
        boolean(ofrep, unique("absent"))
    with pytest.raises(OpenFeatureError, match="unauthorized"):
        boolean(provider(tenant, "nonsense"), key)


def test_all_flags_come_at_once_and_not_again_until_something_changes(tenant: Tenant) -> None:
    keys = sorted(flag(tenant)["key"] for _ in range(2))
    body = {"context": {"targetingKey": "ann"}}
    first = tenant.rest.post(EVALUATE, body)
    assert sorted(each["key"] for each in first.json()["flags"]) == keys
    known = {"if-none-match": first.headers["etag"]}
    again = tenant.rest.post(EVALUATE, body, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    flag(tenant)
    changed = tenant.rest.post(EVALUATE, body, headers=known)
    assert changed.status_code == 200
    assert len(changed.json()["flags"]) == 3


def test_members_evaluate_flags_and_change_none(tenant: Tenant) -> None:
    made = flag(tenant)
    member = Rest(tenant.stack, new_member(tenant, "member")[1].access_token)
    assert member.post(f"{EVALUATE}/{made['key']}", {"context": {}}).json()["value"] is True
    assert reason(member.patch(f"{FLAGS}/{made['id']}", {"enabled": False})) == (403, "PERMISSION_MISSING")
    assert reason(Rest(tenant.stack).post(f"{EVALUATE}/{made['key']}", {})) == (401, "CREDENTIALS_MISSING")


def test_evaluations_tell_how_alive_a_flag_is(tenant: Tenant) -> None:
    made = flag(tenant)
    path = f"{FLAGS}/{made['id']}"
    assert made["lifecycle"] == "LIFECYCLE_NEW"
    evaluated(tenant, made["key"])
    wait_for(lambda: tenant.rest.get(path).json()["lifecycle"] == "LIFECYCLE_ACTIVE")
    last = datetime.fromisoformat(tenant.rest.get(path).json()["lastEvaluationTime"])
    assert abs((datetime.now(UTC) - last).total_seconds()) < 60
    with database(tenant.stack) as connection:
        connection.execute(
            "UPDATE feature_flags SET update_time = now() - interval '31 days' WHERE id = %s", (made["id"],)
        )
    assert tenant.rest.get(path).json()["lifecycle"] == "LIFECYCLE_SETTLED"
    with database(tenant.stack) as connection:
        connection.execute(
            "UPDATE feature_flag_evaluations SET last_time = last_time - interval '31 days' WHERE flag_id = %s",
            (made["id"],),
        )
    assert tenant.rest.get(path).json()["lifecycle"] == "LIFECYCLE_UNUSED"


def test_flags_of_another_tenant_are_not_evaluated(tenant: Tenant, stack: Stack) -> None:
    theirs = flag(new_tenant(stack))["key"]
    assert evaluated(tenant, theirs).json()["errorCode"] == "FLAG_NOT_FOUND"
    own = flag(tenant, key=theirs, enabled=False)
    assert evaluated(tenant, own["key"]).json()["reason"] == "DISABLED"
    assert [each["key"] for each in tenant.rest.post(EVALUATE, {}).json()["flags"]] == [theirs]
