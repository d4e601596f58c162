"""The headers ``traceparent`` and ``tracestate``, read strictly and written again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.telemetry.traces import context
from polyport.telemetry.traces.context import MAX_STATE, Context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def parse(text: str) -> Context | None:
    return context.parse(text.encode())


def test_a_context_is_trace_id_span_id_and_flags() -> None:
    """All in lower-case hexadecimal digits."""
    found = parse(f"00-{TRACE}-{SPAN}-01")
    assert found == Context(int(TRACE, 16), int(SPAN, 16), 1)
    assert found.is_sampled
    found = parse(f"00-{TRACE}-{SPAN}-00")
    assert found is not None
    assert not found.is_sampled


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_what_is_written_is_read_again(trace_id: int, span_id: int, flags: int) -> None:
    """Sampled and random are the flags that there are; ids have leading zeros."""
    made = Context(trace_id, span_id, flags)
    assert context.parse(made.parent()) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01 ",
        f"00-{TRACE}-{SPAN}-01\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
    ],
)
def test_what_is_not_in_order_is_no_context(text: str) -> None:
    """Of version 00 all is known; ff is none; ids of zeros alone name nothing."""
    assert parse(text) is None


def test_a_newer_version_is_read_as_far_as_this_one_goes() -> None:
    """And written as the version that is known; flags that are not known are left out."""
    found = parse(f"cc-{TRACE}-{SPAN}-ff-what the-future-brings".replace(" ", "."))
    assert found is not None
    assert found.parent() == f"00-{TRACE}-{SPAN}-03".encode()


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1", "a=1"),
        (" a=1 ,\tb@v=x y\t,, c-_*/=~", "a=1,b@v=x y,c-_*/=~"),
        ("1tenant@vendor=1", "1tenant@vendor=1"),
        ("", ""),
        ("a", ""),
        ("a=", ""),
        ("A=1", ""),
        ("1a=1", ""),
        ("a=1,a=2", ""),
        ("a=1=2", ""),
        ("a=\xe9", ""),
        ("a=" + "v" * 257, ""),
        (",".join(f"k{n}=v" for n in range(33)), ""),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
    ],
)
def test_a_state_is_passed_on_whole_or_not_at_all(state: str, kept: str) -> None:
    """At most 32 entries with keys of their own; blanks around them and empty ones go."""
    assert context.parse_state(state.encode("latin-1")) == kept.encode()


def test_of_a_state_that_is_too_long_entries_go() -> None:
    """Those over 128 bytes first, then the last ones: the first are of those who wrote last."""
    long = "long=" + "v" * 200
    short = [f"k{n}=" + "v" * 96 for n in range(6)]
    kept = context.parse_state(",".join([long, *short]).encode())
    assert kept == ",".join(short[:5]).encode()
    assert len(kept) <= MAX_STATE
    assert context.parse_state(f"{long},a=1".encode()) == f"{long},a=1".encode()


@given(st.binary(max_size=700))
def test_no_state_breaks_anything(state: bytes) -> None:
    """What is passed on is in order, and no longer than it may be."""
    kept = context.parse_state(state)
    assert len(kept) <= MAX_STATE
    assert context.parse_state(kept) == kept


def test_a_state_without_a_context_is_nothing() -> None:
    """It belongs to the context; one that is not in order is dropped alone."""
    assert context.parse(None, b"a=1") is None
    assert context.parse(f"00-{TRACE}-{SPAN}-01".encode(), b"?") == Context(int(TRACE, 16), int(SPAN, 16), 1)
