"""Records: audit entries, refusals, metrics, logs."""

from server.kernel.record.audit import EPOCH, OK, canonical, commitment, leaf_hash
from server.kernel.record.metrics import EVENT_LAG, LOOP_LIMIT_NAME, LOOP_SUCCESS_NAME
from server.kernel.record.platform_changes import record_platform_change

__all__ = [
    "EPOCH",
    "EVENT_LAG",
    "LOOP_LIMIT_NAME",
    "LOOP_SUCCESS_NAME",
    "OK",
    "canonical",
    "commitment",
    "leaf_hash",
    "record_platform_change",
]
