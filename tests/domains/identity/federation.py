"""Pages that let somebody sign in at another provider."""

from typing import Any

import httpx

from tests.clients import Rest, Session, new_address
from tests.domains.identity import issuer
from tests.domains.identity.oidc import sign_in_there
from tests.stack import Stack


class Page:
    """A page that lets somebody sign in at the provider of the shared stack."""

    base = f"auth/oauth/{issuer.PROVIDER}"

    def __init__(self, stack: Stack, email: str = "", *, verified: bool = True) -> None:
        self.stack = stack
        self.email = email or new_address()
        self.verified = verified
        self.rest = Rest(stack)

    def sent_back(self, url: str) -> dict[str, str]:
        """With what the provider sends the browser back."""
        return issuer.sent_back(url, self.email, is_verified=self.verified)

    def begin(self, **query: str) -> Any:
        """An attempt."""
        answer = self.rest.get(f"{self.base}/authorize", query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    def come_back(self, begun: Any) -> dict[str, str]:
        """What the page has when the browser has come back."""
        back = self.sent_back(begun["url"])
        assert back["state"] == begun["state"]
        return {**back, "attempt": begun["attempt"]}

    def sign_in(self, **query: str) -> httpx.Response:
        """The whole way."""
        return self.rest.post(f"{self.base}/callback", self.come_back(self.begin(**query)))

    def link(self, session: Session) -> httpx.Response:
        """Link this identity to somebody who is signed in."""
        rest = Rest(self.stack, session.access_token)
        begun = rest.get(f"{self.base}/link").json()
        return rest.post(f"{self.base}/link", self.come_back(begun))


class CertifiedPage(Page):
    """One at which somebody goes through the pages of a certified provider."""

    base = "auth/oauth/acme"

    def sent_back(self, url: str) -> dict[str, str]:
        """The same, of that provider."""
        return sign_in_there(url, f"id-of-{self.email}~{self.email}~{'yes' if self.verified else 'no'}")
