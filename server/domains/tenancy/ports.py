"""What tenancy needs of other domains; app.py hands it in."""

from typing import Protocol

from server.data.statements import Row
from server.kernel.call import Call


class KeyGrants(Protocol):
    """What API keys hold."""

    def of(self, call: Call, api_key_id: str) -> Row | None:
        """Of an API key of the call's tenant: name, permissions; None when there is none, or it counts no more."""
