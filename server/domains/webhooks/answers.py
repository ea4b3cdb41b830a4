"""What the answer of a receiver means."""

from server.kernel.ports import Answer


def is_success(status_code: int) -> bool:
    """Whether the receiver took the message."""
    return 200 <= status_code < 300  # noqa: PLR2004 - the statuses of success


def fault_of(answer: Answer) -> str:
    """What went wrong, in a few words; empty for a success."""
    if is_success(answer.status_code):
        return ""
    return answer.error or f"status {answer.status_code}"
