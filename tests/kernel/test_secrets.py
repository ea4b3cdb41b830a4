"""The three states of a deployment's secret: what is signed, what is accepted, and what may stay as it is."""

import pytest

from server.domains.webhooks.secrets import SecretBox
from server.kernel.call import Principal
from server.kernel.guard.tokens import AccessTokens
from server.kernel.problems import Malformed, Unauthenticated
from server.kernel.queries.pages import PageTokens
from server.secrets import Secrets

OLD, NEW, WEBHOOK = b"o" * 32, b"n" * 32, "5d9a6c0e-0000-0000-0000-000000000000"
BEFORE, AHEAD = Secrets(OLD), Secrets(OLD, ahead=(NEW,))
SIGNING, AFTER = Secrets(NEW, behind=(OLD,)), Secrets(NEW)
WHO = Principal("u", "s", "t", ("owner",), is_platform=False, expires_at=0)


def tokens(secrets: Secrets) -> AccessTokens:
    return AccessTokens(secrets, issuer="plinth", lifetime=900)


@pytest.mark.parametrize(("one", "other"), [(BEFORE, AHEAD), (AHEAD, SIGNING), (SIGNING, AFTER)], ids=str)
def test_machines_of_neighbouring_states_accept_each_other_s_tokens(one: Secrets, other: Secrets) -> None:
    for issuer, reader in ((one, other), (other, one)):
        assert tokens(reader).verify(tokens(issuer).issue(WHO)).user_id == "u"
        first, second = PageTokens(*issuer.accepted), PageTokens(*reader.accepted)
        assert second.read("question", first.write("question", [1])) == {"after_0": 1}
        sealed = SecretBox(issuer).seal(b"secret", WEBHOOK)
        assert SecretBox(reader).open(sealed, WEBHOOK) == b"secret"


def test_a_key_is_published_before_it_signs() -> None:
    signer = tokens(SIGNING).keys[0].key_id
    assert signer in {key.key_id for key in tokens(AHEAD).keys}
    assert tokens(AHEAD).keys[0].key_id == tokens(BEFORE).keys[0].key_id


def test_after_the_rotation_what_the_old_secret_signed_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        tokens(AFTER).verify(tokens(BEFORE).issue(WHO))
    with pytest.raises(Malformed):
        PageTokens(*AFTER.accepted).read("question", PageTokens(*BEFORE.accepted).write("question", [1]))


def test_machines_of_two_states_do_not_reseal_each_other_s_secrets_for_ever() -> None:
    """What is under the secret ahead stays, and what is under the one behind is brought forward."""
    forward = SecretBox(SIGNING).seal(b"secret", WEBHOOK)
    assert SecretBox(AHEAD).reseal(forward, WEBHOOK) is None
    again = SecretBox(SIGNING).reseal(SecretBox(AHEAD).seal(b"secret", WEBHOOK), WEBHOOK)
    assert again is not None
    assert SecretBox(AFTER).open(again, WEBHOOK) == b"secret"
