"""Forms: what is decoded, and what is refused before any model is asked."""

import contextlib
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyport.aws import form
from polyport.errors import ApiError

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


def refused(text: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        form.tree(form.pairs(text))
    assert (caught.value.code, caught.value.status) == ("MalformedQueryString", 404)
    assert len(caught.value.message) < 400
    return caught.value.message


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=6))
def test_what_the_standard_library_encodes_is_decoded(pairs: list[tuple[str, str]]) -> None:
    """Plus signs and percent signs, UTF-8, and separators inside of values."""
    assert form.pairs(urlencode(pairs).encode()) == pairs
    assert form.pairs("&".join(f"{quote_plus(a)}={quote_plus(b, safe='~')}" for a, b in pairs).encode()) == pairs


def test_a_name_without_an_equals_sign_has_an_empty_value() -> None:
    """As in HTML's forms and in signed queries; what is between two separators may be nothing at all."""
    assert form.pairs(b"&a&&b=&c==&") == [("a", ""), ("b", ""), ("c", "=")]
    assert form.pairs(b"") == []


@pytest.mark.parametrize("bad", [b"%", b"%4", b"%4g", b"%zz", b"a%", b"%%41", b"% 41"])
def test_a_percent_sign_needs_two_digits(bad: bytes) -> None:
    """In a name and in a value, which is not told: it may be a secret."""
    assert "percent sign" in refused(b"Name" + bad + b"=1")
    message = refused(b"Password=hunter2" + bad)
    assert "In the value of Password" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("bad", [b"\xff", b"%FF", b"%c3", b"%ed%a0%80", b"\xc3("])
def test_text_must_be_utf8(bad: bytes) -> None:
    """Encoded or not; surrogates are none."""
    assert "not UTF-8" in refused(b"Name=hunter2" + bad)
    assert "not UTF-8" in refused(bad + b"=1")


def test_names_become_a_tree() -> None:
    """An encoded dot is a dot; the order of the request is kept."""
    assert form.tree(form.pairs(b"A.B.1=x&A%2eB.2=y&C=")) == {"A": {"B": {"1": "x", "2": "y"}}, "C": ""}


@pytest.mark.parametrize("text", [b"A=1&A=1", b"A.B=1&A.C=1&A.B=2", b"A=1&%41=2"])
def test_a_repeated_parameter_is_refused(text: bytes) -> None:
    """Which of two was meant is not guessed."""
    assert "given more than once" in refused(text)


@pytest.mark.parametrize("text", [b"A=1&A.B=2", b"A.B=2&A=1", b"A.B.C=1&A.B=2", b"A=&A.1=x"])
def test_a_name_is_a_value_or_has_parts(text: bytes) -> None:
    """In either order."""
    assert "one name has a value and parts" in refused(text)


@pytest.mark.parametrize("name", ["=x", ".", "A.", ".A", "A..B", "A" + ".1" * 16, "." * 100_000, "A." * 100_000 + "B"])
def test_a_name_has_no_empty_parts_and_not_too_many(name: str) -> None:
    """The tree cannot become deeper than any service needs."""
    refused(name.encode())


def test_the_deepest_name_is_let_in() -> None:
    """16 parts are, 17 are not (above)."""
    assert form.pairs(("A" + ".1" * 15).encode())
    assert "A" in form.tree([("A" + ".1" * 15, "x")])


def test_the_number_of_parameters_is_bounded() -> None:
    """Counted before the text is taken apart, and again when it came in several."""
    most = form.MOST_PARAMETERS
    within = b"&".join(b"A.%d=" % n for n in range(most))
    assert len(form.tree(form.pairs(within))["A"]) == most
    assert f"at most {most} parameters" in refused(within + b"&B=")
    with pytest.raises(ApiError, match="at most"):
        form.tree([*form.pairs(within), ("B", "")])


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60) | st.text("A.1=&%+2f", max_size=40).map(str.encode))
def test_no_bytes_fail_otherwise(text: bytes) -> None:
    """A tree or an `ApiError`."""
    with contextlib.suppress(ApiError):
        assert isinstance(form.tree(form.pairs(text)), dict)
