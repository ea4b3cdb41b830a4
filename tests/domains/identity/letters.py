"""What is in mail about accounts."""

import re

from tests.mailbox import mailbox_of, text_of
from tests.stack import Stack, wait_for

VERIFY, RESET, INVITATION = "Verify your mail address", "Choose a new password", "Invitation to"
TOKEN = re.compile(r"(?:verify-email(?:/|\?token=)|reset-password: |validate-invitation/)([\w-]{43})")


def letters(stack: Stack, email: str, subject: str) -> list[str]:
    """The texts of the letters to somebody whose subject begins so, oldest first."""
    return [text_of(message) for message in mailbox_of(stack).to(email) if message["Subject"].startswith(subject)]


def wait_for_letter(stack: Stack, email: str, subject: str, number: int = 1) -> str:
    """The newest of their letters, once there are as many."""
    wait_for(lambda: len(letters(stack, email, subject)) >= number, what=f"{number} letters `{subject}` to {email}")
    return letters(stack, email, subject)[-1]


def token_from(stack: Stack, email: str, subject: str, number: int = 1) -> str:
    """The token in the newest of their letters."""
    found = TOKEN.search(wait_for_letter(stack, email, subject, number))
    assert found is not None
    return found[1]
