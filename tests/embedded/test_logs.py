"""What is shown of a line, and how."""

import io

import pytest

from server.embedded.logs import LONGEST_LINE, Console, Lines, is_urgent_record, readable


@pytest.mark.parametrize(
    ("line", "urgent"),
    [
        ('{"level": "INFO", "message": "x"}', False),
        ('{"level": "warning", "message": "x"}', True),
        ('{"level": "CRITICAL"}', True),
        ('{"message": "no level"}', False),
        ("Traceback (most recent call last):", True),
        ('{"level": "INFO", "cut', True),
        ("", False),
    ],
)
def test_warnings_and_what_is_no_record_are_urgent(line: str, urgent: bool) -> None:  # noqa: FBT001
    assert is_urgent_record(line) is urgent


def test_a_record_is_put_in_words() -> None:
    line = (
        '{"time": "now", "level": "error", "message": "went wrong", "method": "GetPage", "exception": "Trace\\nback"}'
    )
    assert readable(line) == "ERROR went wrong method=GetPage\nTrace\nback"
    assert readable("plain") == "plain"


def test_every_line_of_a_record_carries_the_name() -> None:
    stream = io.StringIO()
    Console(stream).show("api-0", '{"level": "ERROR", "message": "m", "exception": "a\\nb"}')
    assert stream.getvalue() == "api-0      | ERROR m\napi-0      | a\napi-0      | b\n"


def test_a_closed_terminal_is_survived() -> None:
    stream = io.StringIO()
    console = Console(stream)
    stream.close()
    console.say("nobody hears this")


def test_lines_are_put_together_and_cut_when_they_do_not_end() -> None:
    lines = Lines()
    assert lines.feed(b"a\r\nb") == ["a"]
    assert lines.feed(b"c\n\xff\n") == ["bc", "�"]
    assert lines.feed(b"x" * (LONGEST_LINE + 1)) == ["x" * (LONGEST_LINE + 1)]
    assert lines.feed(b"end") == []
    assert lines.flush() == ["end"]
    assert lines.flush() == []
