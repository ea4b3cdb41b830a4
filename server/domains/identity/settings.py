"""Settings of identity."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import NoDecode

from server.domains.identity.oauth_connections import OAuthConnection, parse_connections
from server.setting_values import COMMAS, UNLESS_EMPTY, Origin, ProviderUrl
from server.settings import DomainSettings


def _are_connections(value: SecretStr | None) -> SecretStr | None:
    """Raises ValueError for connections that cannot be used, without their secrets."""
    if value is not None:
        parse_connections(value.get_secret_value())
    return value


def _has_places(path: Path | None) -> Path | None:
    """A file that is a database of places."""
    if path is not None:
        # Imported only where it is needed: every command reads the settings.
        import maxminddb  # noqa: PLC0415

        try:
            maxminddb.open_database(path, maxminddb.MODE_MMAP).close()
        except (OSError, ValueError, maxminddb.InvalidDatabaseError):
            raise ValueError("a file in MaxMind's format, with the ending .mmdb") from None
    return path


class IdentitySettings(DomainSettings):
    """What mail about accounts says, and where passkeys belong to."""

    identity_app_url: Annotated[ProviderUrl | None, UNLESS_EMPTY] = Field(
        None,
        description="The front end that links in mail lead to, such as `https://app.example`: its pages "
        "`/verify-email?token=...` and `/reset-password?token=...`. Unset: mail leads to the API itself.",
    )
    identity_product: str = Field(
        "Plinth", min_length=1, max_length=100, description="The name that mail and authenticator apps call it by."
    )
    identity_passkey_domain: Annotated[str | None, UNLESS_EMPTY] = Field(
        None,
        pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$",
        description="The domain that passkeys belong to, of which the hosts of their pages are parts, such as "
        "`example.com`. It cannot be changed later: passkeys of another domain work no more. Unset: the host of "
        "`IDENTITY_APP_URL`, or `localhost`.",
    )
    identity_passkey_origins: Annotated[tuple[Origin, ...], NoDecode, COMMAS] = Field(
        (),
        description="Origins whose pages may use passkeys, comma separated, such as `https://app.example.com`. Empty: "
        "that of `IDENTITY_APP_URL`, or the gateway at `localhost`.",
    )

    identity_oauth_providers: Annotated[SecretStr | None, UNLESS_EMPTY, AfterValidator(_are_connections)] = Field(
        None,
        description="Providers at which users sign in, as JSON: "
        '`{"google": {"client_id": "...", "client_secret": "..."}}`. `google`, `github`, `microsoft` (and its '
        "`directory`) and `apple` (`team_id`, `key_id` and `private_key` in place of a secret) are known; any other "
        "needs the `issuer` of its OpenID Connect, and may have a `name` and `scopes`.",
    )
    identity_oauth_redirect_urls: Annotated[tuple[ProviderUrl, ...], NoDecode, COMMAS] = Field(
        (),
        description="Pages to which browsers come back from these providers, comma separated; the first is the usual "
        "one. Each has to be registered at the providers; at Apple, `<PLINTH_PUBLIC_URL>/api/v1/auth/oauth/apple/form` "
        "instead, which sends browsers on.",
    )

    identity_place_database: Annotated[Path | None, UNLESS_EMPTY, AfterValidator(_has_places)] = Field(
        None,
        description="A database of places in MaxMind's format (`.mmdb`), such as GeoLite2 City: users see about where "
        "their sessions were started. Unset: they see addresses alone.",
    )

    @property
    def oauth_connections(self) -> Mapping[str, OAuthConnection]:
        """The providers at which users sign in, by id."""
        given = self.identity_oauth_providers
        return parse_connections(given.get_secret_value() if given else "")

    def passkey_domain(self) -> str:
        """The domain that passkeys belong to: the relying party's id."""
        app = urlsplit(str(self.identity_app_url)).hostname if self.identity_app_url else None
        return self.identity_passkey_domain or app or "localhost"

    def passkey_origins(self, gateway: str) -> frozenset[str]:
        """The origins whose pages may use passkeys. `gateway` is the origin of the gateway at localhost."""
        if self.identity_passkey_origins:
            return frozenset(self.identity_passkey_origins)
        if self.identity_app_url is None:
            return frozenset([gateway])
        app = urlsplit(str(self.identity_app_url))
        return frozenset([f"{app.scheme}://{app.netloc}"])
