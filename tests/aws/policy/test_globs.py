"""Wildcards: what matches, and that no pattern can be made slow."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyport.aws.policy import globs, texts, variables
from polyport.aws.policy.globs import Wild


def tokens(pattern: str) -> list[globs.Token]:
    return [part for part in variables.read(pattern, wildcards=True, substitutes=False) if isinstance(part, str | Wild)]


def expected(pattern: str, text: str) -> bool:
    """By Python's regular expressions, which may be slow where they like."""
    translated = "".join({"*": ".*", "?": "."}.get(character) or re.escape(character) for character in pattern)
    return re.fullmatch(translated, text, re.DOTALL) is not None


@settings(deadline=None)
@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_a_pattern_matches_what_a_regular_expression_would(pattern: str, text: str) -> None:
    """Few letters, so that much nearly matches."""
    assert globs.matcher(tokens(pattern))(text) is expected(pattern, text)


@settings(deadline=None)
@given(st.text("ab*?\n\u00e4.", max_size=8), st.text("ab\n\u00e4.", max_size=8))
def test_every_character_but_the_two_stands_for_itself(pattern: str, text: str) -> None:
    """Line ends, dots, letters beyond ASCII."""
    assert globs.matcher(tokens(pattern))(text) is expected(pattern, text)


HOSTILE = [
    ("many stars", "*a" * 10_000 + "*b*", "a" * 20_000),
    ("stars around longer pieces", "*aaab" * 4_000 + "*c*", "aaab" * 4_000),
    ("a piece that nearly fits everywhere", "*" + "a" * 5_000 + "b*", "a" * 20_000),
    ("question marks in it", "*" + "a?" * 5_000 + "b*", "a" * 20_000),
    ("only question marks between stars", "*?" * 10_000, "a" * 19_999 + "\n"),
    ("question marks in many pieces", "*a?a" * 5_000 + "*b*", "a" * 20_000),
    ("a long run of question marks", "*" + "?" * 15_000 + "b*", "a" * 20_000),
    ("stars in a row", "*" * 20_000 + "b*", "a" * 20_000),
    ("a hostile one of the usual kind", "*a*a*a*a*a*a*a*a*b", "a" * 20_000),
]


@pytest.mark.parametrize(("what", "pattern", "text"), HOSTILE, ids=[case[0] for case in HOSTILE])
def test_no_pattern_can_be_made_slow(what: str, pattern: str, text: str) -> None:
    """As long as a policy can be, on a text ten times as long as a header's or an ARN's usual one."""
    matches = globs.matcher(tokens(pattern))
    began = time.process_time()
    matched = matches(text)
    assert time.process_time() - began < 0.5
    assert matched is (what == "only question marks between stars")


def test_the_time_of_many_stars_grows_with_the_text_alone() -> None:
    """Ten times the pattern and the text: no more than some thirty times the time, where squares would be a hundred."""

    def seconds(size: int) -> float:
        matches = globs.matcher(tokens("*a" * size + "*b*"))
        text = "a" * (size * 2)

        def once() -> float:
            began = time.process_time()
            matches(text)
            return time.process_time() - began

        return min(once() for _ in range(5))

    assert seconds(20_000) < 30 * max(seconds(2_000), 1e-4)


def test_a_pattern_of_many_variables_is_not_put_together_for_a_short_text() -> None:
    """A thousand times a long header is much memory; the shortest text that could match is known before."""
    parts = variables.read("${aws:UserAgent}" * 1_000 + "*", wildcards=True, substitutes=True)
    patterns = texts.Patterns([parts])
    context = {"aws:useragent": "x" * 100_000}
    began = time.process_time()
    assert not patterns.match("x" * 5_000, context)
    assert time.process_time() - began < 0.05
    assert patterns.match("yy" * 1_000, {"aws:useragent": "yy"})


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("arn:aws:iam::1:user/a", "arn:aws:iam::1:user/a", True),
        ("arn:*:iam::*:*", "arn:aws:iam::1:a:b:c", True),
        ("arn:aws:*:1:x", "arn:aws:iam::1:x", False),
        ("*", "arn:aws:iam::1:x", True),
        ("*", "arn:aws:iam:1", False),
        ("*:*:*:*:*:*", "a:b:c:d:e:f:g", True),
        ("arn:a?s:iam::1:x", "arn:aws:iam::1:x", True),
    ],
)
def test_arns_are_compared_part_by_part(pattern: str, text: str, matches: bool) -> None:
    """Six parts, the last of which may hold colons."""
    assert texts.arn(tokens(pattern))(text) is matches
