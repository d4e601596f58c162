"""The models' regular expressions in Python: all compile, they mean what they mean in Java, none can be made slow."""

import re
import time
import unicodedata
from typing import Any

import pytest
from botocore.model import Shape

from aws.shapes import SERVED, operation
from polyport.aws import patterns, service

TAG = "([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)"
NAME = "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
URL = "(https|s3)://([^/]+)/?(.*)"
MODEL_ARN = "arn:aws[a-z\\-]*:sagemaker:[a-z0-9\\-]*:[0-9]{12}:model/.*"


@pytest.mark.parametrize(
    "name", ["sagemaker", "sagemaker-runtime", "application-autoscaling", "cloudwatch", "logs", "sts", "sns"]
)
def test_every_pattern_of_every_service_spoken_compiles(name: str) -> None:
    """Style fact 3: many of the models' patterns are no Python patterns."""
    model = service.load(name).model
    found = [
        shape.metadata["pattern"] for shape in map(model.shape_for, model.shape_names) if "pattern" in shape.metadata
    ]
    assert name == "sns" or found
    for pattern in found:
        patterns.compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "fit", "unfit"),
    [
        (NAME, ["a", "a-b", "A1--b", "a" * 63], ["", "-a", "a-", "a_b", "a" * 64, "a\n", "\u00e4", "a b"]),
        ("[a-zA-Z0-9]([\\-a-zA-Z0-9]*[a-zA-Z0-9])?", ["a", "a-b", "a" * 500], ["", "-", "a-", "a.b", "a\n"]),
        (
            TAG,
            ["", "k", "\u00e4\u6f22 \u0663", "a:b/c=d+e-f@g", "\u2003"],
            ["a*b", "a\nb", "\u0301", "\U0001f600", "a,b"],
        ),
        ("([\\p{L}\\p{Z}\\p{N}_.:\\/=+\\-@]*)${1,128}", ["abc"], ["a*"]),
        ("\\A\\S[\\p{Print}]*\\z", ["a", "a b~", "\u00e4 b"], ["", " a", "a\u00e4", "a\x7f", "a\n"]),
        ("\\p{ASCII}*", ["", "a\x00\x7f"], ["\u00e4"]),
        ("\\P{C}*", ["a\u00e4 \U0001f600"], ["\x00", "a\u200b", "\ue000", "\U000e1234"]),
        ("[^\\p{C}]*", ["a b"], ["\x1f"]),
        ("\\P{ASCII}", ["\u00e4"], ["a"]),
        ("[\\P{M}\\p{M}]*", ["a\u0301\n"], []),
        ("(\\p{LD}|\\p{Punct}| )+", ["a1 !\u00e4"], ["\t"]),
        ("[\\S]+", ["image:tag", "\u00a0"], ["", "a b", "\t"]),
        ("[\\S\\s]*", ["", "\n \u2028"], []),
        (".*", ["", "a\u00e4"], ["\n", "a\r", "\x85", "\u2028"]),
        ("(?s).*", ["a\nb"], []),
        ("\\d{2}\\w", ["12a"], ["\u0661\u0662a", "12\u00e4"]),
        (URL, ["s3://bucket/key", "https://h", "s3://b/"], ["s3:///key", "http://h/x", "file:///x", "s3://b/\n"]),
        ("/(?!.*\\.\\.)[a-zA-Z0-9/_.\\-]+", ["/metrics", "/a.b"], ["/a/../b", "metrics", "/"]),
        ("(?!\\s*$).+", ["alarm", " a"], ["", "  "]),
        (MODEL_ARN, ["arn:aws:sagemaker:us-east-1:123456789012:model/m"], ["arn:aws:sagemaker:x:12:model/m"]),
        ("^(NEW_SESSION)$|^[a-zA-Z0-9](-*[a-zA-Z0-9])*$", ["NEW_SESSION", "a-b"], ["NEW_SESSION\n", "a_b"]),
        ("[\\w-_]*", ["a-_"], ["a.b"]),
        ("[\\p{L}\\p{Z}-_]+", ["\u00e4-_ "], ["^", "a."]),
        (
            "[\\u0020-\\uD7FF\\uE000-\\uFFFD\\uD800\\uDC00-\\uDBFF\\uDFFF\\r\\n\\t]*",
            ["a\U0001f600\t"],
            ["\x00", "\uffff"],
        ),
        ("[a\\x{0022}[&]+", ['a"[&'], ["b"]),
        ("[^]a]+", ["b"], ["a"]),
    ],
)
def test_a_translated_pattern_means_what_it_means_in_java(pattern: str, fit: list[str], unfit: list[str]) -> None:
    """Full match, ASCII word classes, line terminators, Unicode classes, anchors, surrogates."""
    for text in fit:
        assert patterns.fits(pattern, text), text
    for text in unfit:
        assert not patterns.fits(pattern, text), text


def test_the_ranges_of_unicode_categories_are_right() -> None:
    """The table leaves out planes that no version of Unicode fills; here every code point is looked at."""
    for first, last, category in patterns._categories():
        codes = range(first, last + 1) if last < 0x40000 else (*range(first, last + 1, 97), last)
        actual = {unicodedata.category(chr(code)) for code in codes}
        assert actual == {category} or (category == "Co" and actual <= {"Co", "Cn"})


def leaves(shape: Shape, seen: set[str]) -> list[Shape]:
    """All shapes with a pattern below a shape."""
    if shape.name in seen:
        return []
    seen.add(shape.name)
    match shape.type_name:
        case "structure":
            below: list[Any] = list(shape.members.values())
        case "list":
            below = [shape.member]
        case "map":
            below = [shape.key, shape.value]
        case _:
            below = []
    own = [shape] if "pattern" in shape.metadata else []
    return own + [leaf for inner in below for leaf in leaves(inner, seen)]


def served_patterns() -> list[tuple[str, int]]:
    shapes = [leaf for name in SERVED for leaf in leaves(operation(name).input_shape, set())]
    invoke = service.load("sagemaker-runtime").operation("InvokeEndpoint")
    assert invoke is not None
    shapes += leaves(invoke.input_shape, set())
    return sorted({(shape.metadata["pattern"], shape.metadata["max"]) for shape in shapes})


@pytest.mark.parametrize(("pattern", "longest"), served_patterns())
def test_no_served_pattern_can_be_made_to_backtrack_for_long(pattern: str, longest: int) -> None:
    """The longest text that a pattern ever sees, made of what its loops like, with an end that it cannot match."""
    starts = [
        "",
        "s3://",
        "https://",
        "arn:aws:sagemaker:x:123456789012:",
        "a/",
        "mig-1g.1gb",
        "arn:aws:iam::123456789012:role",
    ]
    for start in starts:
        for pump in ("a", "-", "a-", "-a", "/", " ", "+a", ".", "a/", "//", "\u00e4"):
            reach = max(longest, 8192)
            text = (start + pump * reach)[: reach - 1] + "\n"
            began = time.process_time()
            patterns.fits(pattern, text)
            assert time.process_time() - began < 1.0, (start, pump)


def test_a_pattern_that_cannot_be_translated_is_an_error_when_loaded() -> None:
    """Never a pattern that silently matches everything or nothing."""
    for pattern in ("[abc", "[\\p{Print}&&[^|]]+", "a{2}{3}", "(?!(?i)A)b"):
        with pytest.raises(re.error):
            patterns.compiled(pattern)
