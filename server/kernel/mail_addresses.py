"""Mail addresses (RFC 5321, RFC 6531): the form that is stored and compared, and the form that SMTP servers take."""

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from server.kernel.problems import RuleViolated, Violation, broken_rules


def normal_address(text: str, field: str) -> str:
    """The address in its normal form. Raises RuleViolated, which names the field, if the text is not an address."""
    try:
        return _validated(text).normalized
    except EmailNotValidError as error:
        raise broken_rules([Violation(field, str(error), "string.email")]) from error


def known_form(text: str) -> str:
    """The form in which an address is stored. A text that is not an address is returned as it is, without NULs."""
    try:
        return normal_address(text.strip(), "")
    except RuleViolated:
        return text.replace("\0", "")


def smtp_form(address: str) -> str:
    """A stored address as SMTP takes it: with an ASCII domain (IDNA), if the part before the @ is ASCII too.

    Only other addresses need a server with SMTPUTF8.
    """
    return address if address.isascii() else _validated(address).ascii_email or address


def _validated(text: str) -> ValidatedEmail:
    return validate_email(text, check_deliverability=False, globally_deliverable=False)
