"""Settings of tenancy."""

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from server.setting_values import COMMAS
from server.settings import DomainSettings

DNS_PORT = 53
MOST_PORT = 65_535
ALLOWED = "addresses of name servers, such as `192.0.2.1` or `192.0.2.1:5353`"


def name_server(written: str) -> tuple[str, int]:
    """Address and port of a name server: `192.0.2.1`, `192.0.2.1:5353` or `[2001:db8::1]:5353`. Raises ValueError."""
    address, separator, port = written.rpartition(":")
    if not separator or (":" in address and not address.endswith("]")):
        address, port = written, str(DNS_PORT)
    if not port.isdecimal() or not 0 < int(port) <= MOST_PORT:
        raise ValueError(ALLOWED)
    try:
        return str(ip_address(address.strip("[]"))), int(port)
    except ValueError:
        raise ValueError(ALLOWED) from None


def _are_name_servers(given: tuple[str, ...]) -> tuple[str, ...]:
    for each in given:
        name_server(each)
    return given


class TenancySettings(DomainSettings):
    """How custom domains are verified."""

    tenancy_name_servers: Annotated[tuple[str, ...], NoDecode, COMMAS, AfterValidator(_are_name_servers)] = Field(
        (),
        description="Name servers that are asked for the records of custom domains, separated by commas, each with a "
        "port if it is not 53. Unset: those of the system.",
    )
