"""Signing in at other providers, and linking identities there, by the provider of the shared stack."""

import json
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest
from plinth.identity.v1.federated_identity_pb2 import StartFederatedLogInRequest

from server.adapters.providers import HttpProviders
from server.domains.identity.federated_identities import FederatedIdentityService
from server.domains.identity.oauth_attempts import PURPOSE, OAuthAttempts
from server.domains.identity.oauth_clients import OAUTH
from server.domains.identity.oauth_connections import parse_connections
from server.kernel.clock import utc_now
from server.kernel.problems import StateForbids
from server.kernel.sealing import SealedBox
from tests.clients import (
    Account,
    Rest,
    Session,
    log_in,
    new_address,
    new_password,
    new_tenant,
    problem,
    reason,
    rows,
    sign_up,
)
from tests.domains.identity.federation import Page
from tests.domains.identity.issuer import BY_FORM, PAGE, PROVIDER, sent_back
from tests.domains.identity.letters import RESET, token_from, wait_for_letter
from tests.domains.identity.second_factors import proven_long_ago, secured
from tests.stack import Stack


def test_providers_are_listed(stack: Stack) -> None:
    for path in ("auth/oauth/providers", "auth/providers"):
        assert Rest(stack).get(path).json() == {
            "providers": [{"id": "sweeps", "name": "Sweeps"}, {"id": "apple", "name": "Sweeps"}]
        }


def test_a_newcomer_gets_an_account_and_comes_back_to_it(stack: Stack) -> None:
    page = Page(stack)
    first = page.sign_in()
    session = Session.of(first)
    user = first.json()["user"]
    assert (user["email"], user["firstName"], user["lastName"]) == (page.email, "Ada", "Lovelace")
    # The provider vouches for the address.
    assert user["emailVerifyTime"]
    shown = Rest(stack, session.access_token).get("auth/oauth/identities").json()["identities"]
    assert [(each["provider"], each["email"]) for each in shown] == [("sweeps", page.email)]
    assert "lastUseTime" not in shown[0]
    assert page.sign_in().json()["user"]["id"] == user["id"]
    shown = Rest(stack, session.access_token).get("auth/oauth/identities").json()["identities"]
    assert shown[0]["lastUseTime"]
    told = rows(stack, "SELECT type FROM events WHERE resource_id = %s", user["id"])
    assert [row["type"] for row in told].count("user.signed_up") == 1


def test_the_redirect_of_the_provider_can_be_followed_with_get(stack: Stack) -> None:
    page = Page(stack)
    answer = page.rest.get(f"{Page.base}/callback", page.come_back(page.begin()))
    assert Session.of(answer).access_token


def test_a_newcomer_joins_the_tenant_that_takes_sign_ups(stack: Stack) -> None:
    tenant = new_tenant(stack)
    closed = Page(stack).sign_in(tenant=tenant.subdomain)
    assert reason(closed) == (403, "SIGN_UP_CLOSED")
    assert tenant.rest.patch(tenant.path, {"signUpOpen": True}).status_code == 200
    assert Session.of(Page(stack).sign_in(tenant=tenant.subdomain)).tenant_id == tenant.id


def test_an_address_alone_signs_in_to_no_account(stack: Stack) -> None:
    account = sign_up(stack)
    page = Page(stack, account.email)
    assert reason(page.sign_in()) == (409, "RESOURCE_TAKEN")
    linked = page.link(log_in(stack, account))
    assert linked.json()["email"] == account.email
    wait_for_letter(stack, account.email, "Another way to sign in was linked")
    assert page.sign_in().json()["user"]["id"] == account.id


def test_an_address_that_nobody_vouches_for_makes_no_account(stack: Stack) -> None:
    refused = Page(stack, verified=False).sign_in()
    assert reason(refused) == (409, "PROVIDER_REFUSED")
    assert problem(refused).metadata["provider_code"] == "email_unverified"


def test_a_second_factor_is_asked_for_here_too(stack: Stack) -> None:
    account = sign_up(stack)
    user = secured(stack, account)
    page = Page(stack)
    assert page.link(user.session).status_code == 200
    answer = page.sign_in().json()
    assert answer["accessToken"] == ""
    assert Session.of(user.complete(user.code(), answer["secondFactor"]["challenge"])).access_token


def test_several_identities_are_linked_and_each_to_one_user(stack: Stack) -> None:
    session = log_in(stack, sign_up(stack))
    pages = [Page(stack), Page(stack)]
    assert [page.link(session).status_code for page in pages] == [200, 200]
    assert reason(pages[0].link(session)) == (409, "RESOURCE_TAKEN")
    other = log_in(stack, sign_up(stack))
    assert reason(pages[0].link(other)) == (409, "RESOURCE_TAKEN")
    rest = Rest(stack, session.access_token)
    one = rest.get("auth/oauth/identities").json()["identities"][0]["id"]
    assert rest.delete(f"{Page.base}/link?identityId={one}").status_code == 204
    assert len(rest.get("auth/oauth/identities").json()["identities"]) == 1
    assert rest.delete(f"{Page.base}/link").status_code == 204
    assert reason(rest.delete(f"{Page.base}/link")) == (404, "RESOURCE_NOT_FOUND")


def test_the_last_way_to_sign_in_stays(stack: Stack) -> None:
    page = Page(stack)
    session = Session.of(page.sign_in())
    rest = Rest(stack, session.access_token)
    assert reason(rest.delete(f"{Page.base}/link")) == (409, "STATE_FORBIDS")
    # No password signs in, whatever it is.
    for password in ("", "nobody has this password", new_password()):
        body = {"email": page.email, "password": password}
        assert Rest(stack).post("auth/login", body).status_code in (401, 422)
    assert Rest(stack).post("auth/forgot-password", {"email": page.email}).status_code == 204
    token, password = token_from(stack, page.email, RESET), new_password()
    assert Rest(stack).post("auth/reset-password", {"token": token, "password": password}).status_code == 204
    again = log_in(stack, Account(page.email, password, ""))
    assert Rest(stack, again.access_token).delete(f"{Page.base}/link").status_code == 204


# What goes wrong -----------------------------------------------------------------------------------------------------


def test_a_link_of_somebody_else_signs_nobody_in(stack: Stack) -> None:
    """Forged requests to sign in (RFC 9700, 4.7): the code and the state are the attacker's, the attempt is not."""
    attacker, victim = Page(stack), Page(stack)
    theirs, own = attacker.come_back(attacker.begin()), victim.begin()
    answer = victim.rest.post(f"{Page.base}/callback", {**theirs, "attempt": own["attempt"]})
    assert reason(answer) == (401, "CREDENTIALS_INVALID")
    # A code under another attempt's state fails at the provider: its verifier is another one.
    answer = victim.rest.post(f"{Page.base}/callback", {**theirs, "state": own["state"], "attempt": own["attempt"]})
    assert reason(answer) == (401, "CREDENTIALS_INVALID")


def test_a_code_is_taken_once(stack: Stack) -> None:
    page = Page(stack)
    back = page.come_back(page.begin())
    assert page.rest.post(f"{Page.base}/callback", back).status_code == 200
    assert reason(page.rest.post(f"{Page.base}/callback", back)) == (401, "CREDENTIALS_INVALID")


def test_an_attempt_to_sign_in_links_nothing_and_the_other_way_round(stack: Stack) -> None:
    session = log_in(stack, sign_up(stack))
    rest, page = Rest(stack, session.access_token), Page(stack)
    assert reason(rest.post(f"{Page.base}/link", page.come_back(page.begin()))) == (401, "CREDENTIALS_INVALID")
    begun = rest.get(f"{Page.base}/link").json()
    back = page.come_back(begun)
    assert reason(page.rest.post(f"{Page.base}/callback", back)) == (401, "CREDENTIALS_INVALID")
    # In another session of the same user neither.
    other = Rest(stack, log_in(stack, sign_up(stack)).access_token)
    assert reason(other.post(f"{Page.base}/link", back)) == (401, "CREDENTIALS_INVALID")


def test_linking_needs_a_recent_proof(stack: Stack) -> None:
    token = proven_long_ago(stack, log_in(stack, sign_up(stack)))
    assert reason(Rest(stack, token).get(f"{Page.base}/link")) == (403, "STEP_UP_REQUIRED")
    assert reason(Rest(stack, token).delete(f"{Page.base}/link")) == (403, "STEP_UP_REQUIRED")


def test_only_pages_of_the_settings_get_codes(stack: Stack) -> None:
    for url in (f"{PAGE}/", f"{PAGE}?x=1", "https://evil.example", "//evil.example", f"{PAGE}@evil.example"):
        answer = Rest(stack).get(f"{Page.base}/authorize", {"redirectUrl": url})
        assert problem(answer).rules == ("redirect_url.unknown",), url
    assert Rest(stack).get(f"{Page.base}/authorize", {"redirectUrl": PAGE}).status_code == 200


def test_a_refusal_of_the_provider_is_told(stack: Stack) -> None:
    page = Page(stack)
    begun = page.begin()
    body = {"state": begun["state"], "attempt": begun["attempt"], "error": "access_denied"}
    answer = page.rest.post(f"{Page.base}/callback", body)
    assert reason(answer) == (409, "PROVIDER_REFUSED")
    assert problem(answer).metadata["provider_code"] == "access_denied"
    missing = page.rest.post(f"{Page.base}/callback", {"state": begun["state"], "attempt": begun["attempt"]})
    assert problem(missing).rules == ("code.missing",)


def test_another_issuer_of_the_redirect_is_refused(stack: Stack) -> None:
    page = Page(stack)
    back = {**page.come_back(page.begin()), "iss": "https://evil.example"}
    assert reason(page.rest.post(f"{Page.base}/callback", back)) == (401, "CREDENTIALS_INVALID")


def test_providers_that_are_not_there(stack: Stack) -> None:
    known = Rest(stack).get("auth/oauth/google/authorize")
    assert reason(known) == (409, "PROVIDER_NOT_CONFIGURED")
    assert problem(known).metadata["setting"] == "PLINTH_IDENTITY_OAUTH_PROVIDERS"
    assert reason(Rest(stack).get("auth/oauth/unknown/authorize")) == (404, "RESOURCE_NOT_FOUND")


def test_a_deleted_user_is_not_replaced_by_another_one(stack: Stack) -> None:
    page = Page(stack)
    user = page.sign_in().json()["user"]["id"]
    rows(stack, "UPDATE users SET delete_time = now() WHERE id = %s RETURNING id", user)
    for _ in range(2):
        assert reason(page.sign_in()) == (409, "RESOURCE_TAKEN")
    rows(stack, "UPDATE users SET delete_time = NULL WHERE id = %s RETURNING id", user)
    assert page.sign_in().json()["user"]["id"] == user


def test_there_are_twenty_of_them(stack: Stack) -> None:
    session = log_in(stack, sign_up(stack))
    assert {Page(stack).link(session).status_code for _ in range(20)} == {200}
    assert reason(Page(stack).link(session)) == (409, "LIMIT_REACHED")


def test_without_a_page_to_come_back_to_there_is_no_beginning(stack: Stack) -> None:
    facts = {"issuer": "https://id.example", "client_id": "id"}
    service = FederatedIdentityService(
        parse_connections(json.dumps({PROVIDER: facts})),
        HttpProviders(stack.settings)(OAUTH),
        OAuthAttempts(SealedBox(stack.settings.secrets, PURPOSE), utc_now),
        (),
        "http://localhost:1",
        **dict.fromkeys(("sign_ins", "sign_ups", "half", "guard", "clock"), utc_now),  # type: ignore[arg-type]
    )
    with pytest.raises(StateForbids) as caught:
        service.start_federated_log_in(None, StartFederatedLogInRequest(provider=PROVIDER))  # type: ignore[arg-type]
    assert caught.value.metadata["setting"] == "PLINTH_IDENTITY_OAUTH_REDIRECT_URLS"


def form_answer(stack: Stack, form: dict[str, str], provider: str = BY_FORM) -> httpx.Response:
    """What a browser gets that a provider sent back with a form. It has no token."""
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": "https://appleid.apple.com"}
    path = f"auth/oauth/{provider}/form"
    return Rest(stack).request("POST", path, content=urlencode(form), headers=headers, follow_redirects=False)


@pytest.mark.parametrize("what", ["authorize", "link"])
def test_a_form_of_the_provider_sends_the_browser_on_to_the_page(stack: Stack, what: str) -> None:
    rest = Rest(stack, log_in(stack, sign_up(stack)).access_token)
    begun, email = rest.get(f"auth/oauth/{BY_FORM}/{what}").json(), new_address()
    asked = parse_qs(urlsplit(begun["url"]).query)
    assert asked["response_mode"] == ["form_post"]
    assert asked["redirect_uri"][0].endswith(f"/api/v1/auth/oauth/{BY_FORM}/form")
    back = form_answer(stack, {**sent_back(begun["url"], email), "user": '{"name": {}}', "id_token": "x"})
    assert back.status_code == 303, back.text
    assert back.headers["cache-control"] == "no-store"
    page, _, query = back.headers["location"].partition("?")
    assert page == PAGE
    came = dict(parse_qsl(query))
    assert {*came} == {"code", "state"}
    assert came["state"] == begun["state"]
    if what == "link":
        linked = rest.post(f"auth/oauth/{BY_FORM}/link", {**came, "attempt": begun["attempt"]})
        assert linked.json()["email"] == email, linked.text
    else:
        session = rest.post(f"auth/oauth/{BY_FORM}/callback", {**came, "attempt": begun["attempt"]})
        assert session.json()["user"]["email"] == email, session.text


def test_a_form_that_tells_an_error_is_passed_on_too(stack: Stack) -> None:
    begun = Rest(stack).get(f"auth/oauth/{BY_FORM}/authorize").json()
    back = form_answer(stack, {"error": "user_cancelled_authorize", "state": begun["state"]})
    assert dict(parse_qsl(back.headers["location"].partition("?")[2])) == {
        "error": "user_cancelled_authorize",
        "state": begun["state"],
    }


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"state": "x", "code": "y"},
        {"state": "x.9"},
        {"state": "x.-1"},
        {"state": "x.https://evil.example"},
        {"state": "x.\u0661"},
        {f"n{number}": "x" for number in range(30)},
    ],
)
def test_a_form_sends_browsers_nowhere_but_to_pages_of_the_settings(stack: Stack, form: dict[str, str]) -> None:
    refused = form_answer(stack, form)
    assert refused.status_code == 422, refused.text
    assert "location" not in refused.headers


def test_header_lines_in_a_form_stay_in_the_query(stack: Stack) -> None:
    begun = Rest(stack).get(f"auth/oauth/{BY_FORM}/authorize").json()
    back = form_answer(stack, {"code": "x\r\nset-cookie: a=b", "state": begun["state"]})
    assert back.status_code == 303
    assert "set-cookie" not in back.headers
    assert back.headers["location"].startswith(f"{PAGE}?code=x%0D%0Aset-cookie")


def test_a_provider_that_answers_otherwise_has_no_form(stack: Stack) -> None:
    assert reason(form_answer(stack, {"state": "x.0"}, PROVIDER)) == (404, "RESOURCE_NOT_FOUND")
