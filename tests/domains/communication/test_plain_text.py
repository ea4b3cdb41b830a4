"""The plain text of HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domains.communication.plain_text import plain_text_of


@pytest.mark.parametrize(
    ("html", "text"),
    {
        "<p>Hello <b>Ada</b></p><p>Bye</p>": "Hello Ada\n\nBye\n",
        "one<br>two<br/>three": "one\ntwo\nthree\n",
        "<a href='https://example.com/7'>Open</a>": "Open (https://example.com/7)\n",
        "<a href='https://example.com'>https://example.com</a>": "https://example.com\n",
        "<a href='mailto:a@example.com'>a@example.com</a>": "a@example.com\n",
        "<a href='javascript:alert(1)'>Open</a>": "Open\n",
        "<a href='https://example.com'><img alt=''></a>": "https://example.com\n",
        "<ul><li>one</li><li>two</li></ul>": "- one\n- two\n",
        "<table><tr><td>Oil</td><td>12</td></tr><tr><td>Air</td></tr></table>": "Oil 12\nAir\n",
        "<head><title>T</title><style>p{}</style></head><body>x<script>y</script></body>": "x\n",
        "a &lt;b&gt; &amp; c&nbsp;d": "a <b> & c d\n",
        "line\n   of the\tsource": "line of the source\n",
        "<!-- c -->x<!--[if mso]><b>y</b><![endif]-->": "x\n",
        "</b></p></style>x": "x\n",
    }.items(),
)
def test_html_as_text(html: str, text: str) -> None:
    assert plain_text_of(html) == text


@given(st.text(alphabet="<>/abp&;!-= \n'\"", max_size=60))
def test_any_text_is_read(html: str) -> None:
    assert plain_text_of(html).endswith("\n")
