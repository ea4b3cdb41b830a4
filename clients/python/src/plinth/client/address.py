"""Where a server is."""

from dataclasses import dataclass
from urllib.parse import urlsplit

PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port of a gateway, and whether it speaks TLS."""

    target: str
    """As gRPC takes it: `host:port`."""
    is_secure: bool

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read `https://host` or `http://127.0.0.1:8080`. Raises ValueError that says what is wrong."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("the address has to be a URL such as https://plinth.example or http://127.0.0.1:8080")
        if parts.username or parts.password:
            raise ValueError("the address may not contain credentials: pass api_key, token, or email and password")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("the address has to end after host and port: gRPC has no paths")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{host}:{parts.port or PORTS[parts.scheme]}", parts.scheme == "https")
