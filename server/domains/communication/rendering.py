"""Rendering: the subject, the HTML and the text of a mail, made of a template and of values."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mjml import mjml2html

from server.domains.communication.plain_text import plain_text_of
from server.json_values import JsonValue
from server.kernel.problems import Violation, broken_rules
from server.kernel.template_language import ParsedTemplate, TemplateFault, parsed

LONGEST_SUBJECT = 200
LONGEST_TEXT = 100_000
LONGEST_HTML = 200_000
MOST_ITEMS = 200
"""Items of one list among the values."""
MOST_ELEMENTS = 5_000
"""Elements of one MJML. Its compiler calls itself for each one within another, which took at most 6 kB of stack
(measured with `mj-hero`). A process whose stack is full is gone."""
STACK_BYTES = 64 * 1024 * 1024
_sizing = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a template says. HTML and text may be empty, but not both."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A mail. The HTML is empty where the template has none."""

    subject: str
    html: str
    text: str


def content_of(field: str, *, subject: str, mjml: str, text: str) -> tuple[Content, list[str]]:
    """What a template says, with the names of its values in order. Raises RuleViolated for each field with a fault.

    `field` is the path of the template in the request; empty if the request has none.
    """
    faults: list[Violation] = []
    names: set[str] = set()

    def read(name: str, source: str, *, escapes: bool = False) -> None:
        try:
            names.update(parsed(source, escapes=escapes).variables)
        except TemplateFault as fault:
            faults.append(Violation(f"{field}.{name}", str(fault), "template.language"))

    read("subject", subject)
    read("text", text)
    # Lines are those of the MJML, which its author sees, and not those of the HTML.
    read("mjml", mjml, escapes=True)
    if not mjml and not text:
        faults.append(Violation(f"{field}.text", "is empty, and so is `mjml`", "template.empty"))
    if faults:
        raise broken_rules(faults)
    html = ""
    if mjml:
        try:
            html = html_of_mjml(mjml)
        except ValueError as error:
            raise broken_rules([Violation(f"{field}.mjml", str(error), "template.mjml")]) from error
        read("mjml", html, escapes=True)
    if faults:
        raise broken_rules(faults)
    return Content(subject=subject, html=html, text=text), sorted(names)


def html_of_mjml(mjml: str) -> str:
    """What MJML becomes. Raises ValueError, whose text says why and where."""
    if mjml.count("<") > MOST_ELEMENTS:
        raise ValueError(f"has more than {MOST_ELEMENTS:,} elements")
    results: list[str | ValueError] = []

    def compile_it() -> None:
        try:
            results.append(mjml2html(mjml))
        except ValueError as error:
            results.append(error)

    # Every thread of the process that starts meanwhile gets this size too. It costs address space alone.
    with _sizing:
        before = threading.stack_size(STACK_BYTES)
        try:
            compiler = threading.Thread(target=compile_it, name="mjml")
            compiler.start()
        finally:
            threading.stack_size(before)
    compiler.join()
    # A compiler that panics leaves nothing but a line in the log.
    made = results[0] if results else ValueError("cannot be read")
    if isinstance(made, ValueError):
        raise made
    if len(made) > LONGEST_HTML:
        raise ValueError(f"becomes more than {LONGEST_HTML:,} characters of HTML")
    return made


def rendered(content: Content, values: Mapping[str, JsonValue], field: str) -> Rendered:
    """The mail. Raises RuleViolated for values that do not fit; `field` is their path in the request."""
    faults = list(_long_lists(values, field))
    if faults:
        raise broken_rules(faults)
    subject = " ".join(_filled("subject", parsed(content.subject, escapes=False), values, field).split())
    html = _filled("HTML", parsed(content.html, escapes=True), values, field)
    text = _filled("text", parsed(content.text, escapes=False), values, field)
    text = text or plain_text_of(html)
    for what, made, longest in (
        ("subject", subject, LONGEST_SUBJECT),
        ("text", text, LONGEST_TEXT),
        ("HTML", html, LONGEST_HTML),
    ):
        if len(made) > longest:
            raise broken_rules([_unfit(field, what, f"becomes longer than {longest:,} characters")])
        if "\0" in made:
            raise broken_rules([_unfit(field, what, "gets a NUL")])
    if not subject:
        raise broken_rules([_unfit(field, "subject", "becomes empty")])
    return Rendered(subject=subject, html=html, text=text)


def _filled(what: str, template: ParsedTemplate, values: Mapping[str, JsonValue], field: str) -> str:
    try:
        return template.fill(values)
    except TemplateFault as fault:
        raise broken_rules([_unfit(field, what, str(fault))]) from fault


def _unfit(field: str, what: str, fault: str) -> Violation:
    return Violation(field, f"do not fit: the {what} {fault}", "template.values")


def _long_lists(value: JsonValue | Mapping[str, JsonValue], path: str) -> Iterator[Violation]:
    """A violation for each list that is too long."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _long_lists(inner, f"{path}.{name}")
    elif isinstance(value, list):
        if len(value) > MOST_ITEMS:
            yield Violation(path, f"has {len(value)} items, more than {MOST_ITEMS}", "template.items")
        for place, inner in enumerate(value):
            yield from _long_lists(inner, f"{path}[{place}]")
