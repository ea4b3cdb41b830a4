"""Languages: their usual form, and which stand in for one."""

import pytest

from server.kernel.locales import stand_ins, usual_form


@pytest.mark.parametrize(
    ("locale", "usual"),
    [
        ("DE", "de"),
        ("de-at", "de-AT"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("EN-gb-OXENDICT", "en-GB-oxendict"),
    ],
)
def test_usual_form(locale: str, usual: str) -> None:
    assert usual_form(locale) == usual


def test_the_wider_language_and_then_the_others_stand_in() -> None:
    assert stand_ins(["zh-hant-tw", "fr-CA"]) == ["zh-Hant-TW", "zh-Hant", "zh", "fr-CA", "fr", "en"]
    assert stand_ins(["", ""]) == ["en"]
    assert stand_ins(["en-GB", "en"]) == ["en-GB", "en"]
