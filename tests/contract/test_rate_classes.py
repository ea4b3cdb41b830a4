"""Rate classes: every one that a policy names has a number, and every number is of use."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from server import app
from server.guard import Guard
from server.kernel.guard.limits import DEFAULT_RATES
from server.kernel.policy import MethodPolicy, PolicyError, read_policies
from server.kernel.rates import Rate
from server.modules import MODULES
from server.settings import Settings
from tests.contract.contract import PAGES, planted
from tests.contract.test_errors import sources
from tests.contract.test_policies import change

DEFINED = "kernel/limits.py"
# Classes that no policy names, but the code, each with where.
OF_THE_CODE = {
    "general": "kernel/guard/applied_limits.py",
    "inbound": "kernel/guard/applied_limits.py",
    "tenant": "kernel/guard/applied_limits.py",
    "auth_failure": "guard.py",
    "telemetry": "kernel/policy.py",
}
# Classes of decisions.md 11 whose RPCs are not there yet. One that is named by a policy leaves this list.
TO_COME = ("ai", "multimodal", "payment", "webhook", "analytics")


def class_faults(
    methods: Iterable[MethodPolicy], rates: Iterable[str], code: Mapping[str, str], to_come: Iterable[str]
) -> Iterator[str]:
    """Classes that are named without a number, and numbers that nobody asks for."""
    named, numbered, later = {method.rate_class for method in methods}, set(rates), set(to_come)
    yield from (f"{name} is named by a policy, but has no rate" for name in sorted(named - numbered))
    yield from (f"{name} has a rate, but nobody asks for it" for name in sorted(numbered - named - {*code, *later}))
    yield from (f"{name} is here already" for name in sorted(later & named))
    yield from (f"{name} has no rate" for name in sorted({*code, *later} - numbered))


def code_faults(of_the_code: Mapping[str, str], code: Mapping[str, str]) -> Iterator[str]:
    """Classes that the code does not name where it is said to."""
    for name, file in of_the_code.items():
        if f'"{name}"' not in code[file]:
            yield f"{file} does not name {name}"


def test_every_class_has_a_rate_and_every_rate_a_use() -> None:
    methods = list(app.policies().values())
    assert list(class_faults(methods, DEFAULT_RATES, OF_THE_CODE, TO_COME)) == []
    assert list(code_faults(OF_THE_CODE, sources())) == []
    assert DEFINED not in OF_THE_CODE.values()


def test_planted_classes_are_found() -> None:
    methods = list(read_policies(planted(PAGES, change("GetPage", rate_class="pges")).services).values())
    assert list(class_faults(methods, DEFAULT_RATES, OF_THE_CODE, TO_COME)) == [
        "pges is named by a policy, but has no rate"
    ]
    methods = list(read_policies(planted(PAGES, change("GetPage", rate_class="ai")).services).values())
    assert list(class_faults(methods, DEFAULT_RATES, OF_THE_CODE, TO_COME)) == ["ai is here already"]
    rates = {**DEFAULT_RATES, "chat": "1/1"}
    methods = list(app.policies().values())
    assert list(class_faults(methods, rates, OF_THE_CODE, TO_COME)) == ["chat has a rate, but nobody asks for it"]
    rates = {name: rate for name, rate in DEFAULT_RATES.items() if name != "tenant"}
    assert list(class_faults(methods, rates, OF_THE_CODE, TO_COME)) == ["tenant has no rate"]
    assert list(code_faults({"chat": "guard.py"}, sources())) == ["guard.py does not name chat"]


def test_default_rates_can_be_read_and_strict_classes_have_one() -> None:
    assert all(Rate.parse(text).calls for text in DEFAULT_RATES.values())
    assert DEFAULT_RATES.keys() >= {*Settings(secret_key=SecretStr("0" * 32)).rate_limits_strict}


def test_a_class_without_a_rate_keeps_the_server_from_starting() -> None:
    nothing: Any = None
    faulty = read_policies(planted(PAGES, change("GetPage", rate_class="pges")).services)
    settings = Settings(secret_key=SecretStr("0" * 32))
    with pytest.raises(PolicyError, match="names the rate class `pges`"):
        Guard(settings, lambda: "test", redis.Redis(), nothing, policies=faulty, modules=MODULES)
