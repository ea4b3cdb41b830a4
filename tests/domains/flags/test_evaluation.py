"""Evaluation: who gets what, and that shares that grow take nobody away."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from plinth.flags.v1.feature_flag_pb2 import FeatureFlag, FlagCondition, FlagServing

from server.domains.flags.evaluation import (
    WHOLE,
    Evaluation,
    Evaluator,
    Flag,
    Flags,
    NoUnit,
    bucket,
    context_of,
    holds,
    serve,
)

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def flag(key: str = "flag", **fields: Any) -> Flag:
    """A boolean flag that is on."""
    described = {
        "id": key,
        "key": key,
        "enabled": True,
        "offVariant": "off",
        "variants": [{"name": "on", "value": True}, {"name": "off", "value": False}],
        "defaultServing": {"variant": "on"},
    }
    return Flag.of(json_format.ParseDict(described | fields, FeatureFlag()))


def evaluate(flags: Flags, key: str, context: dict[str, Any], now: datetime) -> Evaluation:
    return Evaluator(flags, context, now).evaluate(key)


def condition(attribute: str, operator: str, *values: str, negated: bool = False) -> FlagCondition:
    return FlagCondition(attribute=attribute, operator=f"OPERATOR_{operator}", values=values, negated=negated)


@pytest.mark.parametrize(
    ("told", "context", "expected"),
    [
        (condition("country", "EQUALS", "ES", "FR"), {"country": "FR"}, True),
        (condition("country", "EQUALS", "ES"), {"country": "FR"}, False),
        (condition("country", "UNSPECIFIED", "ES"), {"country": "ES"}, True),
        (condition("country", "EQUALS", "ES", negated=True), {"country": "FR"}, True),
        (condition("country", "EQUALS", "ES", negated=True), {}, False),
        (condition("groups", "EQUALS", "beta"), {"groups": ["alpha", "beta"]}, True),
        (condition("seats", "EQUALS", "3"), {"seats": 3}, True),
        (condition("admin", "EQUALS", "true"), {"admin": True}, True),
        (condition("email", "ENDS_WITH", "@acme.example"), {"email": "ann@acme.example"}, True),
        (condition("name", "CONTAINS", "nn"), {"name": "Ann"}, True),
        (condition("name", "STARTS_WITH", "nn"), {"name": "Ann"}, False),
        (condition("seats", "GREATER", "10"), {"seats": 11}, True),
        (condition("seats", "GREATER", "10"), {"seats": 10}, False),
        (condition("seats", "LESS", "10"), {"seats": "nine"}, False),
        (condition("version", "VERSION_AT_LEAST", "2.9"), {"version": "2.10.0"}, True),
        (condition("version", "VERSION_AT_LEAST", "2.10.1"), {"version": "2.10.0"}, False),
        (condition("version", "VERSION_AT_LEAST", "2"), {"version": "9" * 5000}, True),
        (condition("version", "VERSION_AT_LEAST", "2"), {"version": "none"}, False),
        (condition("version", "EXISTS"), {"version": ""}, True),
        (condition("version", "EXISTS", negated=True), {}, True),
    ],
)
def test_conditions(told: FlagCondition, context: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - a case
    assert holds(told, context) is expected


def test_the_first_rule_that_fits_decides() -> None:
    rules = [
        {"conditions": [{"attribute": "a", "operator": "OPERATOR_EXISTS"}], "serving": {"variant": "off"}},
        {"conditions": [{"attribute": "b", "operator": "OPERATOR_EXISTS"}], "serving": {"variant": "on"}},
    ]
    flags = {"flag": flag(rules=rules, defaultServing={"variant": "off"})}
    assert evaluate(flags, "flag", {"a": 1, "b": 1}, NOW).variant == "off"
    assert evaluate(flags, "flag", {"b": 1}, NOW) == evaluate(flags, "flag", {"b": 2}, NOW)
    assert (evaluate(flags, "flag", {"b": 1}, NOW).reason, evaluate(flags, "flag", {}, NOW).reason) == (
        *("TARGETING_MATCH", "STATIC"),
    )


def test_a_schedule_holds_while_it_is_enabled() -> None:
    times = {"enableTime": "2026-11-29T00:00:00Z", "disableTime": "2026-11-30T00:00:00Z"}
    flags = {"flag": flag(**times)}
    moments = (NOW - timedelta(microseconds=1), NOW, NOW + timedelta(days=1))
    assert [evaluate(flags, "flag", {}, each).variant for each in moments] == ["off", "on", "off"]
    assert evaluate({"flag": flag(enabled=False, **times)}, "flag", {}, NOW).reason == "DISABLED"


def test_a_flag_is_off_while_another_one_is_not_what_it_has_to_be() -> None:
    needy = flag("needy", prerequisites=[{"key": "base", "variant": "on"}])
    assert evaluate({"needy": needy, "base": flag("base")}, "needy", {}, NOW).variant == "on"
    assert evaluate({"needy": needy, "base": flag("base", enabled=False)}, "needy", {}, NOW).reason == "DISABLED"
    assert evaluate({"needy": needy}, "needy", {}, NOW).variant == "off"
    # Two writes at the same time could make a circle: it ends.
    circle = flag("base", prerequisites=[{"key": "needy", "variant": "on"}])
    assert evaluate({"needy": needy, "base": circle}, "needy", {}, NOW).variant == "off"


def test_each_flag_is_evaluated_once_however_many_need_it() -> None:
    # Ten ways lead from each flag to the ten of the next layer: 10,000,000,000 from the first to the last layer.
    layers = [[f"{depth}-{number}" for number in range(10)] for depth in range(11)]
    flags = {
        key: flag(key, prerequisites=[{"key": below, "variant": "on"} for below in layer])
        for layer, above in zip(layers[1:], layers, strict=False)
        for key in above
    } | {key: flag(key) for key in layers[-1]}
    assert evaluate(flags, "0-0", {}, NOW) == Evaluation("on", "STATIC")


def test_a_prerequisite_that_cannot_be_drawn_fails_each_time() -> None:
    drawn = flag("drawn", defaultServing={"shares": [{"variant": "on", "weight": WHOLE}]})
    flags = {"needy": flag("needy", prerequisites=[{"key": "drawn", "variant": "on"}]), "drawn": drawn}
    evaluator = Evaluator(flags, {}, NOW)
    for key in ("needy", "drawn", "needy"):
        with pytest.raises(NoUnit):
            evaluator.evaluate(key)


def test_shares_are_drawn_by_a_unit_that_is_there() -> None:
    told = flag(defaultServing={"shares": [{"variant": "on", "weight": WHOLE}], "unit": "company"})
    assert evaluate({"flag": told}, "flag", {"company": 7}, NOW).reason == "SPLIT"
    with pytest.raises(NoUnit, match="company"):
        evaluate({"flag": told}, "flag", {"targetingKey": "ann"}, NOW)


WEIGHTS = st.lists(st.integers(0, WHOLE), min_size=2, max_size=6)


def serving(weights: list[int]) -> FlagServing:
    names = [f"v{number}" for number in range(len(weights))]
    shares = [{"variant": name, "weight": weight} for name, weight in zip(names, weights, strict=True)]
    return json_format.ParseDict({"shares": shares}, FlagServing())


@given(st.integers(0, WHOLE), st.integers(0, WHOLE), st.text(min_size=1), st.text(max_size=5))
def test_a_growing_share_keeps_its_units(before: int, more: int, unit: str, salt: str) -> None:
    after = min(WHOLE, before + more)
    message = FeatureFlag(id=salt)
    context = {"targetingKey": unit}
    had = serve(serving([before, WHOLE - before]), message, context)
    has = serve(serving([after, WHOLE - after]), message, context)
    assert has == "v0" or had == "v1"


def test_shares_are_about_what_they_say_and_independent_of_other_flags() -> None:
    units = [f"user-{number}" for number in range(20_000)]
    first = [bucket("one", unit) < WHOLE // 4 for unit in units]
    second = [bucket("two", unit) < WHOLE // 4 for unit in units]
    both = sum(a and b for a, b in zip(first, second, strict=True))
    # Six standard deviations.
    assert abs(sum(first) - 5_000) < 370
    assert abs(both - 1_250) < 210


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.booleans(), st.integers(-(2**50), 2**50), st.text())))
def test_a_context_is_what_was_sent(context: dict[str, Any]) -> None:
    struct = Struct()
    struct.update(context)
    assert context_of(struct) == context
