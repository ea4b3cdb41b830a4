"""The meaning of a receiver's answer."""

from server.kernel.ports import Answer


def is_success(status_code: int) -> bool:
    """Whether the receiver accepted the message."""
    return 200 <= status_code < 300  # noqa: PLR2004 - the statuses of success


def fault_of(answer: Answer) -> str:
    """The cause of a failure in a few words; empty for a success."""
    if is_success(answer.status_code):
        return ""
    return answer.error or f"status {answer.status_code}"
