"""Image names by Docker's grammar, and which alias a name finds."""

import pytest

from polyport.errors import ImageError
from polyport.images import references

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
DIGEST = "sha256:" + "a" * 64

NAMES = {
    "iris": ("iris", "latest", None),
    "iris:1.0-rc.1": ("iris", "1.0-rc.1", None),
    "team/iris": ("team/iris", "latest", None),
    f"{ECR}/team/iris:v1": (f"{ECR}/team/iris", "v1", None),
    "localhost:5000/iris": ("localhost:5000/iris", "latest", None),
    f"iris@{DIGEST}": ("iris", "latest", DIGEST),
    f"iris:1@{DIGEST}": ("iris", "1", DIGEST),
    "a__b--c.d_e": ("a__b--c.d_e", "latest", None),
}


@pytest.mark.parametrize(("text", "expected"), NAMES.items())
def test_a_name_has_a_repository_a_tag_and_perhaps_a_digest(text: str, expected: tuple[str, str, str | None]) -> None:
    """Rule: as Docker reads it; without a tag it means `latest`."""
    found = references.parse(text)
    assert (found.repository, found.tag, found.digest) == expected


WRONG = [
    "",
    "Iris",
    "iris:",
    "iris:-x",
    "iris:" + "t" * 129,
    "a" * 256,
    "a//b",
    "/a",
    "a/",
    "a b",
    "iris@sha256:12",
    "a\n",
]


@pytest.mark.parametrize("text", [*WRONG, "../x", "a/../b", "-a", "a.", "host:port/a", "iris:latest\n"])
def test_other_names_are_refused(text: str) -> None:
    """Rule: what Docker would not take is no image name; least of all a path."""
    with pytest.raises(ImageError, match="is not an image name"):
        references.parse(text)


MATCHES = [
    ("iris", ["*", "iris:*", "i*"], "iris:*"),
    (f"{ECR}/myimage1:mytag", [f"{ECR}/*", f"{ECR}/myimage1:*", "*"], f"{ECR}/myimage1:*"),
    (f"{ECR}/myimage1", [f"{ECR}/myimage1:*"], f"{ECR}/myimage1:*"),
    (f"{ECR}/other:1", [f"{ECR}/myimage1:*"], None),
    ("b:1", ["?:1", "b:?"], "?:1"),
    ("v1:1", ["v[12]:1"], "v[12]:1"),
    ("IRIS", ["iris*"], None),
    ("Not A Name", ["Not*"], "Not*"),
    (f"iris@{DIGEST}", ["iris:latest"], None),
    ("x", [], None),
]


@pytest.mark.parametrize(("name", "patterns", "expected"), MATCHES)
def test_the_longest_matching_pattern_wins(name: str, patterns: list[str], expected: str | None) -> None:
    """Rule: the most specific alias decides, whatever the order; equal ones go by the alphabet."""
    assert references.best_match(name, patterns) == expected
    assert references.best_match(name, reversed(patterns)) == expected


@pytest.mark.parametrize("pattern", ["", "a b", "a\n", "*" * 256])
def test_a_pattern_has_no_spaces_and_no_great_length(pattern: str) -> None:
    """Rule: what could match no name is refused."""
    with pytest.raises(ImageError, match="is not a pattern"):
        references.check_pattern(pattern)
