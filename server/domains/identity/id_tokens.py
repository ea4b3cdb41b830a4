"""ID tokens of OpenID Connect: verified as its Core 1.0, section 3.1.3.7, and RFC 8725 demand."""

from collections.abc import Callable, Mapping
from datetime import datetime

import jwt

from server.json_values import JsonValue
from server.kernel.clock import Clock
from server.kernel.problems import Unauthenticated

Claims = Mapping[str, JsonValue]
Fetch = Callable[[], Claims]
"""Gets a JSON Web Key Set from its provider."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those with a key pair: a shared secret is no proof of who signed."""
LEEWAY = 60
"""Seconds by which the clock of a provider may be off."""
KEPT, PAUSE = 3600.0, 60.0
"""Seconds for which keys are kept, and until which they are not asked for again because of one that is not there."""
TEMPLATE = "{tenantid}"
"""Microsoft's issuer, where accounts of all directories sign in, names that of the token."""


class KeySets:
    """The keys of providers, by the address of their set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, jwt.PyJWKSet]] = {}

    def key(self, address: str, key_id: str | None, fetch: Fetch) -> jwt.PyJWK:
        """The key with this id, or the only key if the token names none. Raises Unauthenticated for an unknown key."""
        now = self._clock().timestamp()
        at, keys = self._kept.get(address, (0.0, None))
        found = _found(keys, key_id) if keys is not None and now - at < KEPT else None
        if found is None and now - at >= PAUSE:
            keys = _keys_in(fetch())
            self._kept[address] = now, keys
            found = _found(keys, key_id)
        if found is None:
            raise wrong_id_token()
        return found


def _keys_in(told: Claims) -> jwt.PyJWKSet:
    """The keys that a provider tells. Raises Unauthenticated if there is none that can be used."""
    try:
        return jwt.PyJWKSet.from_dict(dict(told))
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:
        raise wrong_id_token() from error


def _found(keys: jwt.PyJWKSet, key_id: str | None) -> jwt.PyJWK | None:
    able = [key for key in keys.keys if key.public_key_use in (None, "sig")]
    if key_id is None:
        return able[0] if len(able) == 1 else None
    return next((key for key in able if key.key_id == key_id), None)


def key_id_of(token: str) -> str | None:
    """The key that a token names, not verified yet. Raises Unauthenticated."""
    try:
        return jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError as error:
        raise wrong_id_token() from error


def verified(token: str, key: jwt.PyJWK, *, issuer: str, client_id: str, nonce: str, now: datetime) -> Claims:
    """The claims of an ID token. Raises Unauthenticated."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[each for each in ALGORITHMS if each == key.algorithm_name],
            audience=client_id,
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"],
                # Judged below, by the clock that the whole deployment has.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        _check(claims, issuer, client_id, nonce, now.timestamp())
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise wrong_id_token() from error
    return dict(claims)


def _check(claims: Claims, issuer: str, client_id: str, nonce: str, now: float) -> None:
    """Raise ValueError for claims that do not fit."""
    wanted = issuer.replace(TEMPLATE, str(claims.get("tid", "")))
    if claims["iss"] not in (wanted, wanted.removeprefix("https://")):
        raise ValueError("another issuer")
    audience = claims["aud"]
    is_for_several = isinstance(audience, list) and len(audience) > 1
    if (is_for_several or "azp" in claims) and claims.get("azp") != client_id:
        raise ValueError("for another party")
    if claims.get("nonce") != nonce:
        raise ValueError("another nonce")
    if _moment(claims["exp"]) + LEEWAY < now or _moment(claims["iat"]) - LEEWAY > now:
        raise ValueError("expired, or from the future")
    if not str(claims["sub"]):
        raise ValueError("without a subject")


def _moment(value: JsonValue) -> float:
    if not isinstance(value, int | float):
        raise TypeError("no moment")
    return float(value)


def wrong_id_token() -> Unauthenticated:
    """The problem of an ID token that is not valid here."""
    return Unauthenticated("What the provider answered is not valid: begin again.")
