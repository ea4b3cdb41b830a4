"""Settings of integrations."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from server.setting_values import JSON_OBJECT, ProviderUrl
from server.settings import DomainSettings


def _are_known(given: dict[str, str]) -> dict[str, str]:
    # Imported only where it is needed: every command reads the settings.
    from server.domains.integrations.templates import TEMPLATES  # noqa: PLC0415

    for key in given:
        if key not in TEMPLATES:
            raise ValueError(f"the keys of templates: {', '.join(TEMPLATES)}")
    return given


class IntegrationSettings(DomainSettings):
    """Where the services of others are."""

    integration_base_urls: Annotated[dict[str, ProviderUrl], NoDecode, JSON_OBJECT, AfterValidator(_are_known)] = Field(
        {},
        description="Other addresses of services, as JSON by the key of the template, such as that of a gateway "
        'through which calls leave: `{"slack": "https://egress.example.com/slack"}`.',
    )
