"""Connections to OAuth 2 and OpenID Connect providers, as the settings describe them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal

import jwt
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json

from server.setting_values import ProviderUrl

Text = Annotated[str, StringConstraints(min_length=1, max_length=4000, strip_whitespace=True)]
GITHUB, GOOGLE, MICROSOFT, APPLE = "github", "google", "microsoft", "apple"
KNOWN = {GITHUB: "GitHub", GOOGLE: "Google", MICROSOFT: "Microsoft", APPLE: "Apple"}
"""What needs no issuer: where they are is known."""
ISSUERS = {GOOGLE: "https://accounts.google.com", APPLE: "https://appleid.apple.com"}
MICROSOFT_ISSUER = "https://login.microsoftonline.com/{directory}/v2.0"
ID = r"[a-z][a-z0-9-]{0,39}"
SECRET_LIFETIME = timedelta(minutes=5)


class OAuthConnection(BaseModel):
    """One provider. `id` is its key in the settings, and stands in paths."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: Annotated[str, StringConstraints(pattern=f"^{ID}$")]
    name: Text = ""
    issuer: ProviderUrl = ""
    """Of OpenID Connect: `https://id.example.com`. Empty for those that are known."""
    client_id: Text
    client_secret: Text = Field("", repr=False)
    """Empty for a public client, which PKCE protects alone."""
    scopes: Text = ""
    directory: Text = "common"
    """Of Microsoft: the tenant whose accounts sign in, or `common`, `organizations`, `consumers`."""
    team_id: Text = ""
    key_id: Text = ""
    private_key: Text = Field("", repr=False)
    """Of Apple, in place of a client secret: a PKCS #8 key in PEM."""
    github_url: ProviderUrl = "https://github.com"
    github_api_url: ProviderUrl = "https://api.github.com"
    """Others for GitHub Enterprise Server."""

    @property
    def kind(self) -> Literal["github", "oidc"]:
        """How it speaks."""
        return "github" if self.id == GITHUB else "oidc"

    @property
    def answers_by_form(self) -> bool:
        """Whether it sends browsers back with a form: Apple tells an address in no other way."""
        return self.id == APPLE

    @property
    def title(self) -> str:
        """The name on its button."""
        return self.name or KNOWN.get(self.id, self.id)

    @property
    def issuer_url(self) -> str:
        """Where its configuration is."""
        if self.id == MICROSOFT and not self.issuer:
            return MICROSOFT_ISSUER.replace("{directory}", self.directory)
        return self.issuer or ISSUERS.get(self.id, "")

    @property
    def wanted_scopes(self) -> str:
        """What it is asked to tell."""
        if self.scopes:
            return self.scopes
        return "read:user user:email" if self.kind == "github" else "openid email profile"

    def secret(self, now: datetime) -> str:
        """The client secret: that of the settings, or for Apple one that it makes itself, for five minutes."""
        if not self.private_key:
            return self.client_secret
        claims = {"iss": self.team_id, "sub": self.client_id, "aud": ISSUERS[APPLE], "iat": now}
        claims["exp"] = now + SECRET_LIFETIME
        return jwt.encode(claims, self.private_key, "ES256", headers={"kid": self.key_id})


def parse_connections(text: str) -> Mapping[str, OAuthConnection]:
    """The connections in a setting, by id. Raises ValueError, whose words hold no secret."""
    words = 'a JSON object such as {"google": {"client_id": "...", "client_secret": "..."}}'
    try:
        given = from_json(text or "{}")
    except ValueError:
        raise ValueError(words) from None
    if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
        raise ValueError(words)
    found: dict[str, OAuthConnection] = {}
    for name, facts in given.items():
        try:
            connection = OAuthConnection(**{**facts, "id": name})
        except ValidationError as error:
            raise ValueError(f"{words}; `{name}`: {_fault(error)}") from None
        if connection.kind == "oidc" and not connection.issuer_url:
            raise ValueError(f"{words}; `{name}` needs an `issuer`, since it is none of {', '.join(KNOWN)}")
        found[name] = connection
    return found


def _fault(error: ValidationError) -> str:
    """What is wrong, without the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
