"""Privacy: what each domain erases of a person, what it exports, and the work that does it for all of them."""

from server.kernel.privacy.declaration import Erase, Export, Kept, NotPersonal, Owner, Pseudonymise, Remove
from server.kernel.privacy.erasing import Eraser, Tell
from server.kernel.privacy.erasure import Erasure, Owned, Person, Unwatched
from server.kernel.privacy.exporting import sections
from server.kernel.privacy.plan import Privacy
from server.kernel.privacy.statements import BATCH, theirs

__all__ = [
    "BATCH",
    "Erase",
    "Eraser",
    "Erasure",
    "Export",
    "Kept",
    "NotPersonal",
    "Owned",
    "Owner",
    "Person",
    "Privacy",
    "Pseudonymise",
    "Remove",
    "Tell",
    "Unwatched",
    "sections",
    "theirs",
]
