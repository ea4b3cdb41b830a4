"""The language of templates: what it makes, what it refuses, and that it ends soon whatever it is given."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.json_values import JsonValue
from server.kernel.template_language import MOST_CHARACTERS, TemplateFault, parsed

LINES: list[JsonValue] = [{"name": "Oil", "price": 12.5}, {"name": "Air", "price": 3}]
MADE = {
    "Hello {{ name }}": "Hello Ada",
    "{{ car.model }}, {{ car['plate'] }}, {{ lines[0].name }}, {{ lines.1.name }}": "Golf, A-1, Oil, Air",
    "{% if paid %}yes{% elif late %}late{% else %}no{% endif %}": "late",
    "{% for line in lines %}{{ loop.index }}/{{ loop.length }} {{ line.name }}{% if not loop.last %}, {% endif %}"
    "{% else %}none{% endfor %}": "1/2 Oil, 2/2 Air",
    "{% for line in lines if line.price is gt 5 %}{{ line.name }}{% endfor %}": "Oil",
    "{{ nobody | default('you') }} {{ car.colour | default('grey') }}": "you grey",
    "{{ nobody is defined }} {{ name is defined }}": "false true",
    "{{ tags | join(', ') }} {{ tags | length }} {{ tags | first }}": "a, b 2 a",
    "{{ price | round(2) }} {{ price | round }} {{ price }}": "3.46 3 3.456",
    "{{ name | upper }} {{ 'ab cd' | title }} {{ '  x ' | trim }}": "ADA Ab Cd x",
    "{{ 'a long text indeed' | truncate(6) }}": "a...",
    "{{ nothing }}|{{ paid }}": "|false",
    "{# not shown #}{% raw %}{{ shown }}{% endraw %}": "{{ shown }}",
}
VALUES: dict[str, JsonValue] = {
    "name": "Ada",
    "car": {"model": "Golf", "plate": "A-1"},
    "lines": LINES,
    "paid": False,
    "late": True,
    "tags": ["a", "b"],
    "price": 3.456,
    "nothing": None,
}


@pytest.mark.parametrize("source", MADE)
def test_a_template_makes_text_of_values(source: str) -> None:
    assert parsed(source, escapes=False).fill(VALUES) == MADE[source]


def test_values_stand_escaped_in_html_and_as_they_are_in_text() -> None:
    source = "{{ name }} {{ tags | join('<') }}"
    values: dict[str, JsonValue] = {"name": "<b>&\"'", "tags": ["<", ">"]}
    assert parsed(source, escapes=True).fill(values) == "&lt;b&gt;&amp;&#34;&#39; &lt;&lt;&gt;"
    assert parsed(source, escapes=False).fill(values) == "<b>&\"' <<>"


@pytest.mark.parametrize(
    ("source", "why"),
    {
        "{{ name": "unexpected end",
        "{% if a %}": "endif",
        "{{ a() }}": "call",
        "{{ range(9) }}": "call",
        "{{ 'a' * 10 ** 9 }}": "mul",
        "{{ a ~ b }}": "concat",
        "{{ [1] }}": "list",
        "{% set a = 1 %}": "assign",
        "{% include 'settings' %}": "include",
        "{% import 'os' as os %}": "import",
        "{% extends 'x' %}": "extends",
        "{% block a %}{% endblock %}": "block",
        "{% macro a() %}{% endmacro %}": "macro",
        "{% autoescape false %}{{ a }}{% endautoescape %}": "scope",
        "{{ a | replace('a', 'b') }}": "no filter `replace`",
        "{{ a | safe }}": "no filter `safe`",
        "{{ a is callable }}": "no test `callable`",
        "{{ a | upper(*b) }}": "`*`",
        "{% for a in b recursive %}{% endfor %}": "loop within",
        "{% for a in b %}{% for c in b %}{% for d in b %}{% endfor %}{% endfor %}{% endfor %}": "loop within",
        "{% if a %}" * 60 + "{% endif %}" * 60: "too deeply",
        "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}": "too deeply",
        "{{ a" + ".b" * 5_000 + " }}": "too deeply",
        "{{ " + "1" * 5_000 + " }}": "digits",
        "{{ a }}" * 5_000: "more than 5,000",
    }.items(),
)
def test_other_syntax_is_refused_with_its_line(source: str, why: str) -> None:
    with pytest.raises(TemplateFault, match=why):
        parsed(source, escapes=False)


@pytest.mark.parametrize(
    "source",
    [
        "{{ name.__class__ }}",
        "{{ name['__class__'] }}",
        "{{ name.upper }}",
        "{{ car.items }}",
        "{{ lines.append }}",
        "{{ loop }}",
        "{{ self }}",
        "{{ self._TemplateReference__context }}",
        "{% for line in lines %}{{ loop.__init__ }}{% endfor %}",
        "{% for line in lines %}{{ loop }}{% endfor %}",
        "{{ lines }}",
        "{{ car }}",
        "{{ nobody }}",
        "{{ nobody.name }}",
        "{% if nobody %}{% endif %}",
        "{% for a in nobody %}{% endfor %}",
        "{% for a in name %}{% endfor %}",
        "{% for a in car %}{% endfor %}",
        "{{ name | join('x') }}",
        "{{ name < 3 }}",
        "{{ price | length }}",
        "{{ 3 | round(-1000000000) }}",
        "{{ name | truncate(-1) }}",
    ],
)
def test_no_template_reaches_more_than_its_values(source: str) -> None:
    with pytest.raises(TemplateFault):
        parsed(source, escapes=True).fill(VALUES)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in long %}{% for b in long %}{{ text }}{% endfor %}{% endfor %}",
        "{% for a in long %}{% for b in long %}{% if text | title == 'x' %}{% endif %}{% endfor %}{% endfor %}",
        "{% for a in long %}{% for b in long %}" + "{% if a == b %}{% endif %}" * 300 + "{% endfor %}{% endfor %}",
        "{{ text | upper | lower | title }}" * 1_000,
        "{{ long | join(text) }}" * 1_000,
    ],
)
def test_a_template_that_does_too_much_is_stopped(source: str) -> None:
    with pytest.raises(TemplateFault, match=f"does too much|{MOST_CHARACTERS:,}"):
        parsed(source, escapes=True).fill({"text": "a" * 20_000, "long": ["a"] * 200})


def test_variables_are_those_that_values_have_to_name() -> None:
    source = "{{ a.b }}{% for c in d %}{{ c }}{{ loop.index }}{% endfor %}{{ e | default(f) }}"
    assert parsed(source, escapes=False).variables == {"a", "d", "e", "f"}


SIGNS = (
    *("{{", "}}", "{%", "%}", " for ", "a", " in ", "if ", "endif", "endfor", "else", "|", "upper", "join", "(", ")"),
    *(
        ".",
        "[",
        "]",
        "0",
        "'",
        "x",
        ",",
        "~",
        "*",
        "__class__",
        "{#",
        "#}",
        "\n",
        " is ",
        "defined",
        "not ",
        "<",
        "loop",
    ),
)
PIECES = st.lists(st.sampled_from(SIGNS), max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abx"), inner, max_size=3),
    max_leaves=8,
)


@given(PIECES, st.dictionaries(st.sampled_from("abx"), JSON, max_size=3))
def test_whatever_a_template_is_it_makes_text_or_tells_its_fault(
    pieces: list[str], values: dict[str, JsonValue]
) -> None:
    with suppress(TemplateFault):
        assert isinstance(parsed("".join(pieces), escapes=True).fill(values), str)
