"""The records in DNS by which tenants prove that a domain is theirs."""

from collections.abc import Sequence

from server.domains.tenancy.settings import name_server

LIFETIME = 8.0
"""Seconds that DNS has."""


class DomainRecords:
    """The TXT records of the world."""

    def __init__(self, name_servers: Sequence[str]) -> None:
        """Without name servers, those of the system are asked."""
        self._name_servers = [name_server(each) for each in name_servers]

    def fault(self, name: str, value: str) -> str:
        """Why no TXT record at a name has this text; empty if one has it."""
        # Imported here, because it takes 12 MB and 170 ms, which only processes that verify domains need.
        from dns.exception import DNSException  # noqa: PLC0415
        from dns.resolver import NXDOMAIN, NoAnswer  # noqa: PLC0415

        try:
            texts = self._texts(name)
        except NXDOMAIN:
            return f"There is no name `{name}` in DNS."
        except NoAnswer:
            return f"There is no TXT record at `{name}`."
        except DNSException:
            return "DNS did not answer: try again later."
        if value in texts:
            return ""
        return f"No TXT record at `{name}` says `{value}`."

    def _texts(self, name: str) -> list[str]:
        from dns.nameserver import Do53Nameserver  # noqa: PLC0415 - as above
        from dns.resolver import Resolver  # noqa: PLC0415

        resolver = Resolver(configure=not self._name_servers)
        if self._name_servers:
            resolver.nameservers = [Do53Nameserver(address, port) for address, port in self._name_servers]
        answer = resolver.resolve(name, "TXT", lifetime=LIFETIME)
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
