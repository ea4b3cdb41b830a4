"""Devices: what the header User-Agent of a sign-in says in words."""

from functools import lru_cache

from ua_parser import parse

LONGEST = 300
"""Characters of the header that are read: what follows says nothing about the device."""


@lru_cache(maxsize=4096)
def device_of(user_agent: str) -> str:
    """`Firefox on Windows`, or the part of it that is known."""
    found = parse(user_agent[:LONGEST])
    browser = found.user_agent.family if found.user_agent else ""
    system = found.os.family if found.os else ""
    return " on ".join(filter(None, (browser, system)))
