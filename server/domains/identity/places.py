"""Places: about where an address is, by a database in MaxMind's format that the operator gives."""

from pathlib import Path

import maxminddb

from server.json_values import JsonValue


class Places:
    """The places of addresses. Without a database, none is known."""

    def __init__(self, path: Path | None) -> None:
        self._database = maxminddb.open_database(path, maxminddb.MODE_MMAP) if path else None

    def of(self, ip: str) -> str:
        """`Madrid, Spain`, or the part of it that is known."""
        if self._database is None:
            return ""
        try:
            found: JsonValue = self._database.get(ip)
        except (ValueError, maxminddb.InvalidDatabaseError):
            # The text is no address, or the file ends early.
            return ""
        return ", ".join(filter(None, (_name(found, "city"), _name(found, "country"))))


def _name(found: JsonValue, part: str) -> str:
    for key in (part, "names", "en"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""
