"""Filter patterns, as CloudWatch Logs has them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.telemetry.logs.filters import PatternError, compile_filter, linear

JSON = '{"level": "error", "n": 5, "deep": {"list": [1, "two", {"x": null}]}, "ok": true, "a b": "10.1.2.3"}'
LINE = '127.0.0.1 - bob [10/Oct/2000:13:25:15 -0700] "GET /a.png HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "anything", True),
        ("ERROR", "an ERROR here", True),
        ("ERROR", "an error here", False),
        ("ERROR disk", "disk ERROR", True),
        ("ERROR disk", "ERROR", False),
        ('"disk full"', "the disk full of", True),
        ('"disk full"', "full disk", False),
        (r'"say \"hi\""', 'say "hi"', True),
        ("ERROR -disk", "ERROR net", True),
        ("ERROR -disk", "ERROR disk", False),
        ('-"disk full"', "all well", True),
        ("?ERROR ?WARN", "a WARN", True),
        ("?ERROR ?WARN", "a note", False),
        ("?ERROR INFO", "INFO", True),
        ("%ERR[0-9]+%", "x ERR12", True),
        ("%ERR[0-9]+%", "x ERR", False),
        ("%^ERR% -%x$%", "ERR y", True),
        ("%^ERR% -%x$%", "ERR x", False),
        ('{ $.level = "error" }', JSON, True),
        ("{ $.level = error }", JSON, True),
        ('{ $.level != "error" }', JSON, False),
        ('{ $.level = "err*" }', JSON, True),
        ("{ $.level = %^e.*r$% }", JSON, True),
        ("{ $.n > 4.5 && $.n <= 5 }", JSON, True),
        ("{ $.n = 5e0 }", JSON, True),
        ("{ $.n < 5 || $.n > 5 }", JSON, False),
        ("{ ($.n = 1 || $.ok IS TRUE) && $.level = error }", JSON, True),
        ("{ $.n = 1 || $.ok IS FALSE && $.level = error }", JSON, False),
        ("{ $.deep.list[0] = 1 }", JSON, True),
        ("{ $.deep.list[*] = two }", JSON, True),
        ("{ $.deep.list[2].x IS NULL }", JSON, True),
        ("{ $.none NOT EXISTS }", JSON, True),
        ("{ $.n NOT EXISTS }", JSON, False),
        ('{ $["a b"] = 10.1.* }', JSON, True),
        ('{ $.["a b"] = 10.2.* }', JSON, False),
        ("{ $.none != 5 }", JSON, False),
        ("{ $.n = 5 }", "no json", False),
        ("{ $.n = 5 }", "{broken", False),
        ("[ip, id, user, time, request, status, bytes]", LINE, True),
        ("[ip, id, user]", LINE, False),
        ("[ip, ..., status = 404, bytes > 1000]", LINE, True),
        ("[ip, ..., status = 4*, bytes]", LINE, True),
        ("[ip = %^127% , ..., bytes < 1000]", LINE, False),
        ("[..., request = *.png*, status, bytes]", LINE, True),
        ("[ip, id, user = bob || user = eve, ...]", LINE, True),
        ("[ip, id, user != bob && user != eve, ...]", LINE, False),
        ('[ip, id, (user = "bob"), ...]', LINE, True),
    ],
)
def test_patterns(pattern: str, text: str, expected: bool) -> None:
    """Rule: terms all, with - none, with ? any; JSON by its properties; columns by their number and conditions."""
    matches = compile_filter(pattern)
    assert (matches is None or matches(text)) == expected


@pytest.mark.parametrize(
    "pattern",
    ['"open', "{ $.a = }", "{ $.a = 1", "{ a = 1 }", "{ $.a > x }", "{ $.a IS ODD }", "[a, b", "[a, ..., b, ...]",
     "[a < x]", "%(a)%", "%a**%", "%[b-a]%", "%a{2,1}%", "%[a%", "{ " + "(" * 99 + " }", "%a{1001}%", "[,]"],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """Rule: with the reason; never a pattern that quietly matches nothing."""
    with pytest.raises(PatternError):
        compile_filter(pattern)


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\W", r"\.", "[a-c-]", r"\x62"])
TIMES = st.sampled_from(["", "", "?", "*", "+", "{2}", "{1,2}", "{1,}"])
EXPRESSIONS = st.lists(
    st.builds("".join, st.lists(st.builds(str.__add__, ATOMS, TIMES), max_size=5)), min_size=1, max_size=3
).map("|".join)


@given(EXPRESSIONS, st.sampled_from(["", "^"]), st.sampled_from(["", "$"]), st.text("abc.1- ", max_size=12))
def test_regular_expressions_mean_what_they_mean_in_python(body: str, first: str, last: str, text: str) -> None:
    """Rule: the same answer as `re`, for all that is supported."""
    pattern = "|".join(first + part + last for part in body.split("|"))
    assert linear.Machine(pattern).found_in(text) == (re.search(pattern, text) is not None)


def test_no_expression_takes_long() -> None:
    """Rule: time in proportion to the text; `re` would need ages for these."""
    for pattern in (".*.*.*.*.*x", "a?" * 200 + "a" * 200, "a+a+a+a+b"):
        linear.Machine(pattern).found_in("a" * 20_000)
