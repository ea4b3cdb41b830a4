"""A database of places, in which this machine is in Madrid."""

from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

from tests.stack import Stack

NAME = "places.mmdb"
PLACES: dict[str, dict[str, Any]] = {
    "127.0.0.0/8": {"city": {"names": {"en": "Madrid"}}, "country": {"names": {"en": "Spain"}, "iso_code": "ES"}},
    "2001:db8::/32": {"country": {"names": {"en": "Spain"}}},
    "192.0.2.0/24": {"location": {"latitude": 1.0}},
}


def write_places(folder: Path) -> Path:
    """Write it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City")
    for network, place in PLACES.items():
        writer.insert_network(IPSet([network]), place)
    writer.to_db_file(str(path))
    return path


def place_settings(stack: Stack) -> dict[str, str]:
    """The settings of a stack that knows where its users are."""
    return {"identity_place_database": str(write_places(stack.data_dir))}
