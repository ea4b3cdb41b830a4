"""Operations: long work that is declared once, and can be watched, cancelled and resumed."""

from server.kernel.operations.long_job import PASSING, LongJob, end_lost
from server.kernel.operations.stored import KEPT, has_ended
from server.kernel.operations.watching import as_frames, changes, last_change
from server.kernel.operations.work import Cancelled, Work

__all__ = [
    "KEPT",
    "PASSING",
    "Cancelled",
    "LongJob",
    "Work",
    "as_frames",
    "changes",
    "end_lost",
    "has_ended",
    "last_change",
]
