"""Credentials of integrations: all those of one are sealed together."""

import json
from collections.abc import Iterable

from plinth.integrations.v1.integration_pb2 import IntegrationCredential

from server.domains.integrations.templates import Values
from server.kernel.sealing import SealedBox
from server.secrets import Secrets


class CredentialBox:
    """Seals and opens credentials."""

    def __init__(self, given: Secrets) -> None:
        """`given` are the deployment's secrets."""
        self.sealed = SealedBox(given, "integration credentials")

    def seal(self, credentials: Iterable[IntegrationCredential], integration_id: str) -> bytes:
        """What is stored of the credentials of an integration."""
        values = {credential.name: credential.value for credential in credentials}
        return self.sealed.seal(json.dumps(values).encode(), integration_id)

    def open(self, sealed: bytes, integration_id: str) -> Values:
        """The credentials by name. Raises UnknownKey and InvalidTag."""
        found: Values = json.loads(self.sealed.open(sealed, integration_id))
        return found
