"""About where an address is, and which device a header tells of."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.domains.identity.devices import device_of
from server.domains.identity.places import Places
from server.domains.identity.settings import IdentitySettings
from tests.domains.identity.places import write_places


@pytest.mark.parametrize(
    ("ip", "place"),
    [
        ("127.0.0.1", "Madrid, Spain"),
        ("2001:db8::1", "Spain"),
        ("192.0.2.1", ""),
        ("198.51.100.1", ""),
        ("nowhere", ""),
    ],
)
def test_a_database_knows_places(tmp_path: Path, ip: str, place: str) -> None:
    assert Places(write_places(tmp_path)).of(ip) == place
    assert Places(None).of(ip) == ""


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "places.mmdb").write_bytes(b"x" * 1000)
    for path in (tmp_path / "places.mmdb", tmp_path / "absent", tmp_path):
        with pytest.raises(ValidationError, match="MaxMind"):
            IdentitySettings(identity_place_database=path)


@pytest.mark.parametrize(
    ("header", "device"),
    {
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0": "Firefox on Windows",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
        "Mobile/15E148 Safari/604.1": "Mobile Safari on iOS",
        "curl/8.5.0": "curl",
        "": "",
        "x" * 10_000: "",
    }.items(),
)
def test_a_header_tells_the_device(header: str, device: str) -> None:
    assert device_of(header) == device
