"""The records in DNS by which tenants prove that a domain is theirs."""

from collections.abc import Sequence

import dns.exception
import dns.resolver
from dns.nameserver import Do53Nameserver

from server.domains.tenancy.settings import name_server

LIFETIME = 8.0
"""Seconds that DNS has."""


class DomainRecords:
    """The TXT records of the world."""

    def __init__(self, name_servers: Sequence[str]) -> None:
        """Without name servers, those of the system are asked."""
        self._name_servers = [Do53Nameserver(*name_server(each)) for each in name_servers]

    def fault(self, name: str, value: str) -> str:
        """Why no TXT record at a name has this text; empty if one has it."""
        try:
            texts = self._texts(name)
        except dns.resolver.NXDOMAIN:
            return f"There is no name `{name}` in DNS."
        except dns.resolver.NoAnswer:
            return f"There is no TXT record at `{name}`."
        except dns.exception.DNSException:
            return "DNS did not answer: try again later."
        if value in texts:
            return ""
        return f"No TXT record at `{name}` says `{value}`."

    def _texts(self, name: str) -> list[str]:
        resolver = dns.resolver.Resolver(configure=not self._name_servers)
        if self._name_servers:
            resolver.nameservers = list(self._name_servers)
        answer = resolver.resolve(name, "TXT", lifetime=LIFETIME)
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
