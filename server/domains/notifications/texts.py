"""Texts: what people read, in one locale each, from a message itself or from its template."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plinth.notifications.v1.notification_sending_pb2 import NotificationMessage
from plinth.notifications.v1.notification_template_pb2 import NotificationText
from sqlalchemy import any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID
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
    select(_t.key, _t.locale, _t.published).where(
        _t.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
        _t.key == any_(bindparam("keys", type_=ARRAY(Text()))),
        _t.published.is_not(None),
    )
)
"""Takes `tenant` and `keys`. A tenant has 500 templates at most."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one message, by locale. Those of a message without a template stand for every locale."""

    by_locale: Mapping[str, NotificationText]

    def best(self, locales: Sequence[str]) -> NotificationText:
        """That of the first of these locales that there is, or of the first by its name."""
        found = next((each for each in stand_ins(locales) if each in self.by_locale), min(self.by_locale))
        return self.by_locale[found]

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


def make_texts(
    transaction: Transaction, tenant_id: str | None, messages: Mapping[str, NotificationMessage]
) -> dict[str, Texts]:
    """The texts of messages, from the templates that they name: the values of those are forgotten then.

    Both are by the path of the message in the request. Raises RuleViolated.
    """
    faults = [fault for path, message in messages.items() for fault in _text_faults(message, path)]
    if faults:
        raise broken_rules(faults)
    keys = sorted({message.template.key for message in messages.values() if message.HasField("template")})
    published: dict[str, dict[str, Mapping[str, str]]] = {key: {} for key in keys}
    if keys:
        for row in transaction.run(PUBLISHED, tenant=tenant_id, keys=keys).all():
            published[row["key"]][row["locale"]] = row["published"]
    return {path: _texts(message, published, path) for path, message in messages.items()}


def _text_faults(message: NotificationMessage, path: str) -> list[Violation]:
    if not message.HasField("template"):
        words = "is required, unless a template makes it"
        return [] if message.title else [Violation(f"{path}.title", words, "required")]
    return [
        Violation(f"{path}.{name}", "is made by the template: leave it out", "template.alone")
        for name in LONGEST
        if getattr(message, name)
    ]


def _texts(message: NotificationMessage, published: Mapping[str, Mapping[str, Mapping[str, str]]], path: str) -> Texts:
    if not message.HasField("template"):
        return texts_of(message)
    use = message.template
    by_locale = published[use.key]
    if not by_locale:
        fault = "is that of no template which was published"
        raise broken_rules([Violation(f"{path}.template.key", fault, "template.known")])
    values = plain_struct(use.values)
    use.ClearField("values")
    field = f"{path}.template.values"
    return Texts({locale: filled(sources, values, field) for locale, sources in by_locale.items()})


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
