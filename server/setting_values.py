"""Types for values of settings with rules that pydantic does not have. Each names what it allows in words.

A rule raises ValueError with these words alone. settings_loading.py, which refuses the start, prefixes the variable and
its value.
"""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from email.utils import formataddr, parseaddr
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

SHORTEST_SECRET = 32
LONGEST_PERIOD = 86400
WEB = ("http", "https")
# Schemes whose documents have no origin of their own, or which have no documents.
NO_PAGES = ("ws", "wss", "ftp", "file")
DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
DATABASE_SCHEMES = ("postgresql", "postgres")
REDIS_SCHEMES = ("redis", "rediss", "unix")
SMTP_SCHEMES = ("smtp", "smtps")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
# An IPv6 address is in brackets.
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
# Misspellings of `https://`, such as `https:/` or `htps://`.
SOME_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):/+|(https?)/+", re.IGNORECASE)
LOOKS_LIKE_HOST = re.compile(r"[^.*]\.[^.]|^localhost\b")
LOCAL = re.compile(r"localhost\b|127\.")
DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
# RFC 9110 allows more, but the gateway refuses headers with an underscore.
HEADER = re.compile(r"[a-z0-9-]+")
RATE = re.compile(r"([1-9]\d{0,9})/([1-9]\d{0,4})")
BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.-]+)*/?")
MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+")
COLLECTOR = re.compile(r"https?://[^/?#@\s]+/?")
# The similarity of two words, from 0 to 1, from which one is suggested for the other.
ALIKE = 0.5
HARDLY_ALIKE = 0.4
# Shortest word that counts as a part of another one, as `env` of `environment`.
SHORTEST_PART = 3
VERY_ALIKE = 0.7


def nearest(word: str, known: Iterable[str], alike: float = ALIKE) -> str | None:
    """The known word that is most similar to this one, or contains it, ignoring case; None if no word is similar."""
    folded = {each.casefold(): each for each in known}
    plain = word.casefold()
    found = get_close_matches(plain, folded, 1, alike)
    if not found and len(plain) >= SHORTEST_PART:
        found = [each for each in folded if plain in each]
    return folded[found[0]] if found else None


def suggestion(word: str | None) -> str:
    """The end of a refusal, with the suggested word; empty without a suggestion."""
    return f"; did you mean `{word}`?" if word else ""


def any_case(*choices: str) -> BeforeValidator:
    """One of these words, in any case."""

    def choose(value: object) -> str:
        text = str(value).strip()
        found = next((choice for choice in choices if choice.casefold() == text.casefold()), None)
        if found is None:
            raise ValueError(
                f"{', '.join(choices[:-1])} or {choices[-1]}{suggestion(nearest(text, choices, HARDLY_ALIKE))}"
            )
        return found

    return BeforeValidator(choose)


def split(text: str) -> tuple[str, ...]:
    """The members of a list separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _split_text(value: object) -> object:
    """The members of a list that is text; any other value unchanged."""
    return split(value) if isinstance(value, str) else value


COMMAS = BeforeValidator(_split_text)
"""A list separated by commas."""


def _matching(pattern: re.Pattern[str], allowed: str, *, fold: bool = False) -> AfterValidator:
    """Text that matches as a whole. With `fold`, it is converted to lower case."""

    def check(text: str) -> str:
        value = text.lower() if fold else text
        if not pattern.fullmatch(value):
            raise ValueError(allowed)
        return value

    return AfterValidator(check)


def _is_origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454, section 7). Any other spelling would never match."""
    if text != _as_browsers_send_it(text):
        raise ValueError(
            "an origin as browsers send it, never `*` or a pattern: scheme://host or scheme://host:port, without a "
            f"path, a slash at the end, or the default port of the scheme{suggestion(_meant_origin(text))}"
        )
    return text


def _as_browsers_send_it(url: str) -> str | None:
    """The origin of a URL; None if it has none."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError:
        return None
    # A scheme that is nearly http is a misspelling. Apps have schemes of their own, such as capacitor://localhost.
    is_misspelt = parts.scheme not in WEB and nearest(parts.scheme, WEB, VERY_ALIKE) is not None
    if is_misspelt or parts.scheme in NO_PAGES or not SCHEME.fullmatch(parts.scheme) or not HOST.fullmatch(host):
        return None
    shown = "" if port is None or port == DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


def _meant_origin(text: str) -> str | None:
    """The origin that was probably meant; None if nothing looks like a host."""
    parts = SOME_SCHEME.match(text)
    if parts:
        scheme = nearest(parts[1] or parts[2], WEB)
        return _as_browsers_send_it(text) or (
            _as_browsers_send_it(f"{scheme}://{text[parts.end() :]}") if scheme else None
        )
    if not LOOKS_LIKE_HOST.search(text):
        return None
    return _as_browsers_send_it(f"{'http' if LOCAL.match(text) else 'https'}://{text.lstrip('/')}")


def _is_network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError(f"a network such as 10.1.0.0/16{suggestion(_meant_network(text))}") from None
    return text


def _meant_network(text: str) -> str | None:
    """The network that contains an address."""
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        return None


def _is_rate(text: str) -> str:
    parts = RATE.fullmatch(text)
    if parts is None or int(parts[2]) > LONGEST_PERIOD:
        raise ValueError(f"calls/seconds such as 5/900: at least one call, at most {LONGEST_PERIOD} seconds")
    return text


def decode(value: object) -> dict[str, object]:
    """Parse a JSON object. Raises ValueError for any other text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        # ValueError, not TypeError, because the operator's text is wrong.
        raise ValueError('a JSON object such as {"auth": "5/900"}')  # noqa: TRY004
    return value


def _has_scheme(schemes: tuple[str, ...], allowed: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(tuple(f"{scheme}:" for scheme in schemes)):
            raise ValueError(allowed)
        return value

    return AfterValidator(check)


def _is_long(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SHORTEST_SECRET:
        raise ValueError(f"at least {SHORTEST_SECRET} characters")
    return value


def provider_url(text: str) -> str:
    """The base URL of an outside provider, without a slash at its end. Raises ValueError.

    It holds no credentials, which belong into secrets. Only on loopback, where tests listen, does it do without TLS.
    """
    parts = urlsplit(text)
    is_local = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    if not (parts.scheme == "https" or is_local) or not parts.hostname or "@" in parts.netloc:
        raise ValueError("a URL such as https://api.example.com, without a user and a password")
    if parts.query or parts.fragment:
        raise ValueError("a URL such as https://api.example.com/v1, without a query and a fragment")
    return text.rstrip("/")


def _is_smtp_url(value: SecretStr) -> SecretStr:
    """The SMTP server that takes mail. Only one on this machine may be reached without TLS."""
    words = "a URL such as smtps://user:password@mail.example.com:465 or smtp://user:password@mail.example.com:587"
    try:
        parts = urlsplit(value.get_secret_value())
        port = parts.port
    except ValueError:
        raise ValueError(words) from None
    if parts.scheme not in SMTP_SCHEMES or not parts.hostname or port == 0 or parts.path.strip("/") or parts.query:
        raise ValueError(words)
    if (parts.username is None) != (parts.password is None):
        raise ValueError(f"{words}, with both user and password or neither")
    return value


def _is_mail_address(text: str) -> str:
    """An address, with or without a name in front."""
    words = "an address such as Acme <no-reply@acme.example>"
    name, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if not (at and local and DOMAIN.fullmatch(domain.lower())) or any(sign in text for sign in "\r\n"):
        raise ValueError(words)
    return formataddr((name, address))


def _unless_empty(value: object) -> object:
    """None for an empty text, by which files of variables leave one out."""
    return None if value == "" else value


UNLESS_EMPTY = BeforeValidator(_unless_empty)

Origin = Annotated[str, AfterValidator(_is_origin)]
Network = Annotated[str, AfterValidator(_is_network)]
HeaderName = Annotated[str, _matching(HEADER, "a name of a header: letters, digits and hyphens", fold=True)]
Rate = Annotated[str, AfterValidator(_is_rate)]
JSON_OBJECT = BeforeValidator(decode)
Domain = Annotated[str, _matching(DOMAIN, "a domain such as example.com, without a scheme or a port", fold=True)]
Collector = Annotated[str, _matching(COLLECTOR, "http://host:port or https://host:port")]
ProviderUrl = Annotated[str, AfterValidator(provider_url)]
BucketUrl = Annotated[str, _matching(BUCKET, "a bucket of S3 such as s3://acme-files or s3://acme-files/folder")]
MediaType = Annotated[str, _matching(MEDIA_TYPE, "a media type such as image/png, without parameters", fold=True)]
Secret = Annotated[SecretStr, AfterValidator(_is_long)]
DatabaseUrl = Annotated[
    SecretStr, _has_scheme(DATABASE_SCHEMES, "a URL such as postgresql://user:password@host:5432/database")
]
RedisUrl = Annotated[SecretStr, _has_scheme(REDIS_SCHEMES, "a URL such as redis://host:6379/0, rediss:// or unix://")]
SmtpUrl = Annotated[SecretStr, AfterValidator(_is_smtp_url)]
MailAddress = Annotated[str, AfterValidator(_is_mail_address)]
