"""Page tokens: whole, stateless, and of one listing only."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyport.aws import paginate
from polyport.errors import ApiError

REQUEST = {"SortBy": "Name", "NameContains": "a", "CreationTimeAfter": 1.25, "MaxResults": 5}
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(SCALARS, max_size=4).filter(
        lambda position: float("inf") not in position and -float("inf") not in position
    )
)
def test_a_position_comes_back_as_it_went(position: list[Any]) -> None:
    """Also on the next page, where the page size and the token itself differ; and the model's pattern fits."""
    token = paginate.encode("ListModels", REQUEST, position)
    again = {**REQUEST, "MaxResults": 9, "NextToken": token}
    assert paginate.decode("ListModels", again, token) == position
    assert re.fullmatch("[A-Za-z0-9_-]+", token)


TOKEN = paginate.encode("ListModels/1/us-east-1", REQUEST, ["m", 1.5])


@pytest.mark.parametrize(
    "token", ["", "x", "a" * 24, TOKEN[:-2], TOKEN[2:], TOKEN + "AAAA", "\u00e4", "!" + TOKEN, "A" * 8192]
)
def test_a_damaged_or_invented_token_is_refused(token: str) -> None:
    """AWS's code for it, never a failure."""
    with pytest.raises(ApiError, match="NextToken") as caught:
        paginate.decode("ListModels/1/us-east-1", REQUEST, token)
    assert caught.value.code == "ValidationException"


@pytest.mark.parametrize("position", range(len(TOKEN)))
def test_every_changed_character_is_noticed(position: int) -> None:
    """No character of a token is without meaning but the unused bits of the last."""
    changed = TOKEN[:position] + ("A" if TOKEN[position] != "A" else "Q") + TOKEN[position + 1 :]
    with pytest.raises(ApiError):
        paginate.decode("ListModels/1/us-east-1", REQUEST, changed)


@pytest.mark.parametrize(
    ("scope", "request_now"),
    [
        ("ListEndpoints/1/us-east-1", REQUEST),
        ("ListModels/1/eu-west-1", REQUEST),
        ("ListModels/1/us-east-1", {**REQUEST, "NameContains": "b"}),
        ("ListModels/1/us-east-1", {"SortBy": "Name"}),
    ],
)
def test_a_token_of_another_listing_is_refused(scope: str, request_now: dict[str, Any]) -> None:
    """Another operation, owner, filter or order: a position in it would mean something else."""
    with pytest.raises(ApiError):
        paginate.decode(scope, request_now, TOKEN)


def test_tokens_survive_a_new_version_by_being_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of another version is not misread."""
    monkeypatch.setattr(paginate, "_VERSION", 2)
    with pytest.raises(ApiError):
        paginate.decode("ListModels/1/us-east-1", REQUEST, TOKEN)
