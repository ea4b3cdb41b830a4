"""What mail about accounts says, and where it leads."""

import pytest

from server.domains.identity.letters import LETTERS, WITH_TOKEN, Kind, LetterTokens, link_of
from server.secrets import Secrets

API = "https://api.example"


@pytest.mark.parametrize("kind", Kind)
def test_a_letter_with_a_token_leads_to_the_front_end_or_the_api(kind: Kind) -> None:
    assert ("{link}" in LETTERS[kind].body) == (kind in WITH_TOKEN)
    for app in ("https://app.example", None):
        link = link_of(kind, app, API)
        assert link.endswith("{secret}") == (kind in WITH_TOKEN)
        assert not link or (app or API) in link
        assert not (app and API in link)


def test_a_token_is_known_under_every_accepted_secret() -> None:
    before, after = Secrets(b"o" * 32), Secrets(b"n" * 32, behind=(b"o" * 32,))
    token, hashed = LetterTokens(before).new()
    assert hashed.hex() in LetterTokens(after).hashes(token)
    assert hashed.hex() not in LetterTokens(Secrets(b"x" * 32)).hashes(token)
    assert hashed.hex() not in LetterTokens(after).hashes(token + "x")
