"""Captured calls as they are spooled, and the lines of JSON that become of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.domain.captures import Capture
from polyport.telemetry.capture import records
from polyport.telemetry.capture.records import Call, Entry, Target

CAPTURE = Capture("s3://bucket/some/prefix/", 100, True, True, ("text/csv",), ("application/json",))
TARGET = Target("123456789012", "us-east-1", "pair", "AllTraffic", CAPTURE, 1_650_240_048 // 3600)


def spooled(*calls: Call) -> bytes:
    return b"".join((records.frame(TARGET), *(piece for call in calls for piece in call.frame())))


def call(given: bytes, answered: bytes, name: str = "id") -> Call:
    entry = Entry(name, 1_644_859_549.7, "", "text/csv", len(given), "text/csv", len(answered))
    return Call(entry, [given[:3], given[3:]], [bytearray(answered)])


def test_a_line_is_as_sagemaker_writes_it() -> None:
    """Members, their order, the version, and seconds in UTC."""
    entry = Entry("id", 1_644_859_549.7, "mine", "text/csv", 6, "text/csv; charset=utf-8", 4)
    assert records.line(CAPTURE, entry, b"1,2,3\n", b"0.07") == (
        b'{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"1,2,3\\n",'
        b'"encoding":"CSV"},"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT",'
        b'"data":"0.07","encoding":"CSV"}},"eventMetadata":{"eventId":"id","inferenceId":"mine",'
        b'"inferenceTime":"2022-02-14T17:25:49Z"},"eventVersion":"0"}\n'
    )


@pytest.mark.parametrize(
    ("content_type", "body", "encoding", "data"),
    [
        ("text/csv", "é,ü".encode(), "CSV", "é,ü"),
        ("Text/CSV ; header=present", b"a", "CSV", "a"),
        ("application/json", b'{"a": "\\n"}', "JSON", '{"a": "\\n"}'),
        ("application/x-npy", b"\x93NUMPY", "BASE64", "k05VTVBZ"),
        ("", b"a", "BASE64", "YQ=="),
        ("text/csv", b"\xff", "BASE64", "/w=="),
        ("text/csv", b"", "CSV", ""),
    ],
)
def test_bodies_are_text_where_the_lists_say_so(content_type: str, body: bytes, encoding: str, data: str) -> None:
    """By the media type, whatever its parameters; what is no text after all, and every other type, is in base64."""
    entry = Entry("id", 0.0, input_type=content_type, input_size=len(body))
    [side] = json.loads(records.line(CAPTURE, entry, body, b""))["captureData"].values()
    assert (side["encoding"], side["data"]) == (encoding, data)


def test_the_key_has_the_hour_of_its_calls() -> None:
    """Of the example in the documentation; a slash at the end of the destination is not doubled, and a destination may
    be a whole bucket."""
    identity = "0b7bfd33-c8a7-4adf-a09a-98fd0af79974"
    at = 1_650_240_000 + 20 * 60 + 48.871
    assert records.key(TARGET, at, identity) == (
        "bucket",
        f"some/prefix/pair/AllTraffic/2022/04/18/00/20-48-871-{identity}.jsonl",
    )
    whole = Target("a", "r", "pair", "v", Capture("s3://bucket", 1, True, True), TARGET.hour)
    assert records.key(whole, at, identity)[1].startswith("pair/v/2022/04/18/00/")


@pytest.mark.parametrize(("late", "name"), [(5.0, "59-59-999"), (-5.0, "00-00-000")])
def test_a_file_that_was_begun_in_another_hour_stays_in_that_of_its_calls(late: float, name: str) -> None:
    """A call that began at the end of an hour is over in the next."""
    at = TARGET.hour * 3600 + (3600 + late if late > 0 else late)
    key = records.key(TARGET, at, "x")[1]
    assert key.endswith(f"2022/04/18/00/{name}-x.jsonl")


@given(st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=50)), max_size=5))
def test_what_is_spooled_is_read_again(bodies: list[tuple[bytes, bytes]]) -> None:
    """Any bytes, in any pieces."""
    calls = [call(*pair, name=str(number)) for number, pair in enumerate(bodies)]
    target, lines = records.read(spooled(*calls))
    assert target == TARGET
    expected = [records.line(CAPTURE, one.entry, *pair) for one, pair in zip(calls, bodies, strict=True)]
    assert list(lines) == expected


@given(st.data())
def test_a_file_that_was_cut_off_is_good_up_to_there(data: Any) -> None:
    """Wherever that was, and whatever is behind: every call that is whole before it is read."""
    calls = [call(b"first body", b"answer", str(number)) for number in range(3)]
    whole = spooled(*calls)
    ends = [len(spooled(*calls[:count])) for count in range(4)]
    cut = data.draw(st.integers(ends[0], len(whole)))
    behind = data.draw(st.sampled_from([b"", bytes(20)])) if cut in ends else b""
    _, lines = records.read(whole[:cut] + behind)
    assert len(list(lines)) == sum(end <= cut for end in ends[1:])


@pytest.mark.parametrize("data", [b"", b"\0\0\0\5abc", bytes(8), b"\0\0\0\3abc"])
def test_what_is_no_spool_file_is_refused(data: bytes) -> None:
    """As a `ValueError`, whatever is in it."""
    with pytest.raises(ValueError):  # noqa: PT011  any
        records.read(data)
