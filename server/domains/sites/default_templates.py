"""The templates that `plinth seed` makes: pages that most small sites have, and some for industries."""

from collections.abc import Sequence
from typing import NamedTuple

from server.json_values import JsonObject, JsonValue


class DefaultTemplate(NamedTuple):
    """A template to begin with."""

    key: str
    display_name: str
    description: str
    category: str
    page_title: str
    sections: Sequence[JsonObject]
    industry: str = ""
    is_premium: bool = False


def _section(kind: str, title: str, **content: JsonValue) -> JsonObject:
    return {"kind": kind, "title": title, "content": content}


HOURS = _section(
    "opening-hours",
    "Hours",
    heading="Opening hours",
    items=[{"day": "Monday to Friday", "hours": "8:00 to 17:00"}, {"day": "Saturday", "hours": "9:00 to 13:00"}],
)
CONTACT = _section(
    "contact", "Contact", heading="Where we are", address="1 Main Street\nYour town", phone="+1 555 0100"
)
APPOINTMENT = _section(
    "call-to-action",
    "Appointment",
    heading="Shall we talk?",
    text="Tell us what you need. We answer on the same day.",
    button={"label": "Contact us", "url": "/contact"},
)


def _hero(heading: str, text: str, label: str = "Contact us", url: str = "/contact") -> JsonObject:
    return _section("hero", "Welcome", heading=heading, text=text, button={"label": label, "url": url})


def _features(heading: str, *items: tuple[str, str]) -> JsonObject:
    return _section(
        "features", heading, heading=heading, items=[{"title": title, "text": text} for title, text in items]
    )


def _prices(*items: tuple[str, str]) -> JsonObject:
    return _section(
        "price-list", "Prices", heading="Prices", items=[{"title": title, "price": price} for title, price in items]
    )


def _questions(*items: tuple[str, str]) -> JsonObject:
    return _section(
        "questions",
        "Questions",
        heading="Questions and answers",
        items=[{"question": question, "answer": f"<p>{answer}</p>"} for question, answer in items],
    )


DEFAULT_TEMPLATES = (
    DefaultTemplate(
        "home",
        "Home page",
        "A first page for any business: what it does, why it is good, and how to reach it.",
        "home",
        "Welcome",
        (
            _hero("What you do, in one sentence", "For whom you do it, and what is special about it."),
            _features(
                "What we offer",
                ("First service", "What the customer gets."),
                ("Second service", "What the customer gets."),
                ("Third service", "What the customer gets."),
            ),
            _section(
                "testimonials",
                "Voices",
                heading="What our customers say",
                items=[{"quote": "A sentence that a customer said.", "name": "A customer"}],
            ),
            APPOINTMENT,
        ),
    ),
    DefaultTemplate(
        "about",
        "About us",
        "Who is behind the business.",
        "about",
        "About us",
        (
            _section("text", "Story", heading="Our story", html="<p>How it began, and what we care about.</p>"),
            _section("team", "Team", heading="Who works here", items=[{"name": "First person", "role": "Owner"}]),
            _section("gallery", "Pictures", heading="A look inside", images=[]),
        ),
    ),
    DefaultTemplate(
        "contact",
        "Contact",
        "Address, telephone and opening hours.",
        "contact",
        "Contact",
        (CONTACT, HOURS),
    ),
    DefaultTemplate(
        "prices",
        "Prices",
        "A price list with answers to the usual questions.",
        "prices",
        "Prices",
        (
            _prices(("First service", "from 49 €"), ("Second service", "from 89 €")),
            _questions(("How can I pay?", "In cash, by card, or by bank transfer."), ("Is VAT included?", "Yes.")),
            APPOINTMENT,
        ),
    ),
    DefaultTemplate(
        "garage",
        "Garage",
        "Services, prices and hours of a garage.",
        "home",
        "Your garage",
        (
            _hero("Oil, brakes and tyres while you wait", "Honest prices, all makes.", "Book a slot"),
            _features(
                "What we do",
                ("Inspection", "By the maker's plan, with the stamp in the book."),
                ("Tyres", "Changed, balanced and stored."),
                ("Brakes", "Checked free of charge."),
            ),
            _prices(("Oil change", "from 79 €"), ("Tyre change", "39 €"), ("Inspection", "from 149 €")),
            HOURS,
            CONTACT,
        ),
        industry="car-service",
    ),
    DefaultTemplate(
        "restaurant",
        "Restaurant",
        "The kitchen, the menu and a table.",
        "home",
        "Welcome to our table",
        (
            _hero("Cooked today, from around here", "Lunch and dinner, and a terrace in summer.", "Book a table"),
            _prices(("Soup of the day", "6 €"), ("Lunch", "12 €"), ("Dinner in three courses", "34 €")),
            _section("gallery", "Pictures", heading="Kitchen and guests", images=[]),
            HOURS,
            CONTACT,
        ),
        industry="restaurant",
    ),
    DefaultTemplate(
        "studio",
        "Studio",
        "A portfolio with work, voices and answers.",
        "home",
        "Our work",
        (
            _hero("Pictures that people remember", "Weddings, portraits and products.", "See the work", "#work"),
            _section("gallery", "Work", heading="Work", images=[]),
            _section(
                "testimonials", "Voices", heading="What people say", items=[{"quote": "Wonderful.", "name": "A couple"}]
            ),
            _questions(
                ("How far do you travel?", "As far as the train goes."),
                ("When do we get the pictures?", "In two weeks."),
            ),
            APPOINTMENT,
        ),
        industry="photography",
        is_premium=True,
    ),
)
