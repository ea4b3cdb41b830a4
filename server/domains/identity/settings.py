"""Settings of identity."""

from typing import Annotated

from pydantic import Field

from server.setting_values import UNLESS_EMPTY, ProviderUrl
from server.settings import DomainSettings


class IdentitySettings(DomainSettings):
    """What mail about accounts says."""

    identity_app_url: Annotated[ProviderUrl | None, UNLESS_EMPTY] = Field(
        None,
        description="The front end that links in mail lead to, such as `https://app.example`: its pages "
        "`/verify-email?token=...` and `/reset-password?token=...`. Unset: mail leads to the API itself.",
    )
    identity_product: str = Field("Plinth", min_length=1, max_length=100, description="The name that mail calls it by.")
