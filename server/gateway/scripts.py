"""The files that hold the Lua scripts of the gateway."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scripts:
    """Where `write` puts them, and where Envoy reads them."""

    edge: Path
    """For every request and response."""
    connect: Path
    """For answers to calls of Connect, before anything else reads them."""
