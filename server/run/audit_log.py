"""The work of `plinth audit verify`."""

from collections.abc import Callable, Sequence

from server.data.connections import Connections
from server.data.transactions import Database
from server.domains.audit.checkpoints import CheckpointKeys, parse
from server.domains.audit.verification import Verifier
from server.run import preflight
from server.settings import Settings


def check_notes(notes: Sequence[str]) -> None:
    """Raise ValueError for a text that is no checkpoint."""
    for note in notes:
        parse(note)


def verify(settings: Settings, tenants: Sequence[str], notes: Sequence[str], tell: Callable[[str], object]) -> bool:
    """Verify the audit log of these tenants, or of all, and that it extends the saved checkpoints.

    Calls `tell` with a line per finding, and then with a summary. Returns whether there is no fault. Raises
    MalformedNote, and Fault if the database cannot be read.
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
