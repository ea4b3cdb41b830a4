"""Probing: what a service may do instead of answering, and what of its answers is kept."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.adapters.providers import HttpProviders
from server.domains.integrations.probing import INTEGRATIONS, NO_ANSWER, Finding, Prober, finding_of
from server.domains.integrations.settings import IntegrationSettings
from server.domains.integrations.templates import TEMPLATES
from server.kernel.providers import ProviderAnswer
from server.settings import Settings
from tests.domains.integrations.accounts import GOOD, OPTIONS, Accounts
from tests.providers.double import Fault

SLACK = TEMPLATES["slack"]
VALUES = GOOD["slack"]


@pytest.fixture(scope="module")
def services() -> Iterator[Accounts]:
    with Accounts() as double:
        yield double


@pytest.fixture(scope="module")
def prober(services: Accounts) -> Iterator[Prober]:
    providers = HttpProviders(Settings())
    yield Prober(providers(INTEGRATIONS), {key: f"{services.url}/{key}" for key in TEMPLATES})
    providers.close()


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.CUT])
def test_a_service_that_does_not_answer(services: Accounts, prober: Prober, fault: Fault) -> None:
    services.fail(*[fault] * 3)
    assert prober.probe(SLACK, {}, VALUES) == Finding(NO_ANSWER)
    services.recover()
    assert prober.probe(SLACK, {}, VALUES) == Finding("", "Workshop")


def test_a_service_that_fails_once_is_asked_again(services: Accounts, prober: Prober) -> None:
    services.fail(Fault.ERROR_BEFORE)
    assert prober.probe(SLACK, {}, VALUES).error == ""
    services.fail(*[Fault.ERROR_BEFORE] * 3)
    assert prober.probe(SLACK, {}, VALUES) == Finding("the service has answered 500")
    services.recover()


def test_the_region_chooses_the_address() -> None:
    probe = TEMPLATES["mailgun"].probe
    assert probe.base_for(OPTIONS["mailgun"]) == "https://api.eu.mailgun.net"
    assert probe.base_for({"domain": "a.example"}) == "https://api.mailgun.net"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>", "the service has answered something else than JSON"),
        (200, b"[]", "the service has answered something else than JSON"),
        (200, b"[" * 100_000, "the service has answered something else than JSON"),
        (200, b"{}", "the service refuses: it does not say why"),
        (200, b'{"ok": 1}', "the service refuses: it does not say why"),
        (200, b'{"ok": false, "error": {"a": 1}}', "the service refuses: it does not say why"),
        (200, b'{"ok": false, "error": "no\\n\\u001b[0m"}', "the service refuses: no[0m"),
        (403, b"", "the service rejects the credentials (403)"),
        (302, b"", "the service has answered 302"),
        (404, b'{"ok": true}', "the service has answered 404"),
    ],
)
def test_what_is_no_success(status: int, body: bytes, error: str) -> None:
    assert finding_of(SLACK.probe, ProviderAnswer(status, {}, body), VALUES) == Finding(error)


@given(before=st.text(max_size=20), after=st.text(max_size=300))
def test_no_text_of_a_service_holds_what_it_was_sent(before: str, after: str) -> None:
    (secret,) = VALUES.values()
    for told in ({"ok": True, "team": f"{before}{secret}{after}"}, {"ok": False, "error": f"{before}{secret}{after}"}):
        found = finding_of(SLACK.probe, ProviderAnswer(200, {}, json.dumps(told).encode()), VALUES)
        assert secret not in f"{found.error}{found.account}"
    plain = finding_of(SLACK.probe, ProviderAnswer(200, {}, json.dumps({"ok": True, "team": after}).encode()), VALUES)
    assert plain.account.isprintable()
    assert len(plain.account) <= 200


def test_an_address_for_an_unknown_template_is_refused() -> None:
    with pytest.raises(ValidationError, match="the keys of templates"):
        IntegrationSettings(integration_base_urls={"fax": "https://fax.example.com"})
    with pytest.raises(ValidationError, match="without a user"):
        IntegrationSettings(integration_base_urls={"slack": "ftp://slack.example.com"})
