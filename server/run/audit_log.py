"""What `plinth audit verify` does."""

from collections.abc import Callable, Sequence

from server.data.connections import Connections
from server.data.transactions import Database
from server.domains.audit.checkpoints import CheckpointKeys, parse
from server.domains.audit.verification import Verifier
from server.run import preflight
from server.settings import Settings


def check_notes(notes: Sequence[str]) -> None:
    """Raise ValueError for what is no checkpoint."""
    for note in notes:
        parse(note)


def verify(settings: Settings, tenants: Sequence[str], notes: Sequence[str], tell: Callable[[str], object]) -> bool:
    """Verify the audit log of these tenants, or of all, and that it goes on from saved checkpoints.

    Tells a line for whatever is wrong, and then how much was looked at; whether all is right. Raises MalformedNote, and
    Fault when the database cannot be read.
    """
    preflight.check_login(settings, "dispatch")
    keys = CheckpointKeys(settings.secrets)
    connections = Connections(
        settings.dispatch_dsn,
        size=1,
        wait=settings.database_connect_timeout,
        statement_timeout=settings.statement_timeout,
        name="plinth audit verify",
    )
    connections.open()
    try:
        verifier = Verifier(Database(connections), keys)
        with preflight.explained(settings, "dispatch"):
            for finding in verifier.verify_with(notes, tenants):
                tell(finding.text)
        tell(str(verifier.summary))
    finally:
        connections.close()
    return not verifier.summary.faults
