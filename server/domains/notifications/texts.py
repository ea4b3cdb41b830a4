"""Texts: what people read, in one locale each, from a message itself or from its template."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plinth.notifications.v1.notification_sending_pb2 import NotificationMessage
from plinth.notifications.v1.notification_template_pb2 import NotificationText
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import Text

from server.data.statements import Statement
from server.data.transactions import Transaction
from server.domains.notifications.tables import notification_templates
from server.json_values import JsonObject, JsonValue
from server.kernel.locales import stand_ins
from server.kernel.messages import plain_struct
from server.kernel.problems import Violation, broken_rules
from server.kernel.template_language import TemplateFault, parsed

LONGEST = {"title": 200, "body": 2000, "url": 2000}
URL = re.compile(r"((https?://|/)[^\x00-\x20<>\"]*)?")
_t = notification_templates.c
PUBLISHED = Statement(
    select(_t.locale, _t.published).where(
        _t.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
        _t.key == bindparam("key", type_=Text()),
        _t.published.is_not(None),
    )
)
"""Takes `tenant` and `key`."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one message, by locale. Those of a message without a template stand for every locale."""

    by_locale: Mapping[str, NotificationText]

    def best(self, locales: Sequence[str]) -> NotificationText:
        """That of the first of these locales that there is, or of the first by its name."""
        found = next((each for each in stand_ins(locales) if each in self.by_locale), min(self.by_locale))
        return self.by_locale[found]

    @property
    def has_choice(self) -> bool:
        """Whether it matters who reads it."""
        return len(self.by_locale) > 1

    def stored(self) -> JsonObject:
        """As they are stored."""
        return {
            locale: {"title": text.title, "body": text.body, "url": text.url} for locale, text in self.by_locale.items()
        }


def texts_of(message: NotificationMessage, stored: Mapping[str, Mapping[str, str]] | None = None) -> Texts:
    """The texts of a message without a template, or those that were stored of one with a template."""
    if stored is not None:
        return Texts({locale: NotificationText(**text) for locale, text in stored.items()})
    return Texts({"": NotificationText(title=message.title, body=message.body, url=message.url)})


def make_texts(transaction: Transaction, tenant_id: str | None, message: NotificationMessage, path: str) -> Texts:
    """The texts of a message, from its template if it names one: then its values are forgotten.

    Raises RuleViolated; `path` is that of the message in the request.
    """
    if not message.HasField("template"):
        if not message.title:
            raise broken_rules([Violation(f"{path}.title", "is required, unless a template makes it", "required")])
        return texts_of(message)
    faults = [
        Violation(f"{path}.{name}", "is made by the template: leave it out", "template.alone")
        for name in LONGEST
        if getattr(message, name)
    ]
    if faults:
        raise broken_rules(faults)
    use = message.template
    rows = transaction.run(PUBLISHED, tenant=tenant_id, key=use.key).all()
    if not rows:
        fault = "is that of no template which was published"
        raise broken_rules([Violation(f"{path}.template.key", fault, "template.known")])
    values = plain_struct(use.values)
    made = {row["locale"]: filled(row["published"], values, f"{path}.template.values") for row in rows}
    use.ClearField("values")
    return Texts(made)


def filled(sources: Mapping[str, str], values: Mapping[str, JsonValue], field: str) -> NotificationText:
    """What sources of title, body and URL make of values. Raises RuleViolated; `field` is the path of the values."""
    made: dict[str, str] = {}
    for name, longest in LONGEST.items():
        try:
            text = parsed(sources.get(name, ""), escapes=False).fill(values).strip()
        except TemplateFault as fault:
            raise _unfit(field, name, str(fault)) from fault
        made[name] = text if name == "body" else " ".join(text.split())
        if len(made[name]) > longest:
            raise _unfit(field, name, f"becomes longer than {longest:,} characters")
        if "\0" in made[name]:
            raise _unfit(field, name, "gets a NUL")
    if not made["title"]:
        raise _unfit(field, "title", "becomes empty")
    if not URL.fullmatch(made["url"]):
        raise _unfit(field, "url", "becomes neither an address on the web nor one that begins with `/`")
    return NotificationText(**made)


def variables_of(sources: Mapping[str, str], path: str) -> list[str]:
    """The values that sources name, in alphabetical order. Raises RuleViolated for what is none of the language."""
    names: set[str] = set()
    faults: list[Violation] = []
    for name in LONGEST:
        try:
            names |= parsed(sources.get(name, ""), escapes=False).variables
        except TemplateFault as fault:
            faults.append(Violation(f"{path}.{name}", str(fault), "template.language"))
    if faults:
        raise broken_rules(faults)
    return sorted(names)


def _unfit(field: str, what: str, fault: str) -> Exception:
    return broken_rules([Violation(field, f"do not fit: the {what} {fault}", "template.values")])
