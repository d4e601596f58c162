"""Lists: filters, orders and pages."""

import asyncio
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyport import store
from polyport.domain.endpoints import EndpointState, Status
from polyport.store import ListQuery, SortBy
from store.values import OWNER, make_endpoint, make_model

TIMES = st.sampled_from([1.0, 2.0, 2.5, 3.0])
OPTIONAL_TIMES = st.none() | TIMES
SETTLED = [Status.CREATING, Status.IN_SERVICE, Status.FAILED]


@st.composite
def endpoints(draw):
    names = draw(st.lists(st.text("aAbB-", min_size=1, max_size=4), unique_by=str.lower, max_size=12))
    return [
        msgspec.structs.replace(
            make_endpoint(name, created_at=draw(TIMES), status=draw(st.sampled_from(SETTLED))), modified_at=draw(TIMES)
        )
        for name in names
    ]


list_queries = st.builds(
    ListQuery,
    sort_by=st.sampled_from(SortBy),
    ascending=st.booleans(),
    limit=st.integers(1, 5),
    name_contains=st.sampled_from(["", "a", "B", "ab", "-"]),
    created_before=OPTIONAL_TIMES,
    created_after=OPTIONAL_TIMES,
    modified_before=OPTIONAL_TIMES,
    modified_after=OPTIONAL_TIMES,
    status=st.none() | st.sampled_from([status.value for status in SETTLED]),
)


def matches(endpoint, query):
    """The filters again, in plain words."""
    return (
        query.name_contains.lower() in endpoint.name.lower()
        and (query.created_before is None or endpoint.created_at < query.created_before)
        and (query.created_after is None or endpoint.created_at >= query.created_after)
        and (query.modified_before is None or endpoint.modified_at < query.modified_before)
        and (query.modified_after is None or endpoint.modified_at >= query.modified_after)
        and (query.status is None or endpoint.status.value == query.status)
    )


def order(endpoint, query):
    first = {
        SortBy.NAME: endpoint.name.lower(),
        SortBy.CREATION_TIME: endpoint.created_at,
        SortBy.STATUS: endpoint.status.value,
    }
    return (first[query.sort_by], endpoint.name.lower())


async def walk(opened, query):
    """All pages, one after the other."""
    pages = []
    while True:
        page = await opened.list_endpoints(OWNER, query)
        pages.append(page.items)
        if page.next is None:
            return pages
        query = msgspec.structs.replace(query, after=page.next)


@settings(max_examples=25, deadline=None)
@given(endpoints(), st.lists(list_queries, min_size=1, max_size=6))
def test_walking_the_pages_gives_exactly_the_filtered_sorted_set(found, asked):
    """Rule: whatever the filters, order and page size: each match once, in order, and only the last page is short."""

    async def main():
        with tempfile.TemporaryDirectory() as folder:
            opened = store.Store(store.sqlite_url(Path(folder) / "db"))
            await opened.open()
            for endpoint in found:
                await opened.add_endpoint(endpoint)
            walks = [await walk(opened, query) for query in asked]
            await opened.close()
            return walks

    for query, pages in zip(asked, asyncio.run(main()), strict=True):
        expected = sorted(
            (endpoint for endpoint in found if matches(endpoint, query)),
            key=lambda endpoint: order(endpoint, query),
            reverse=not query.ascending,
        )
        assert [endpoint for page in pages for endpoint in page] == expected
        assert all(len(page) == query.limit for page in pages[:-1])
        assert len(pages[-1]) > 0 or len(pages) == 1


def test_pages_are_stable_under_inserts_and_deletes(with_store):
    """Rule: between two pages, items before and behind the place come and go; what stayed is seen once."""

    async def body(s):
        for name in ("a", "c", "e", "g"):
            await s.add_model(make_model(name))
        query = ListQuery(SortBy.NAME, ascending=True, limit=2)
        first = await s.list_models(OWNER, query)
        await s.delete_model(OWNER, "c")
        await s.add_model(make_model("b"))
        await s.add_model(make_model("f"))
        second = await s.list_models(OWNER, msgspec.structs.replace(query, after=first.next))
        return [model.name for model in first.items], [model.name for model in second.items]

    assert with_store(body) == (["a", "c"], ["e", "f"])


def test_the_shown_status_is_the_one_that_is_filtered_by(with_store):
    """Rule: an update that the reconciler has not seen yet is listed as Updating, a deletion as Deleting."""
    endpoint = make_endpoint(status=Status.IN_SERVICE)

    async def names(s, status):
        return [found.name for found in (await s.list_endpoints(OWNER, ListQuery(status=status))).items]

    async def body(s):
        await s.add_endpoint(endpoint)
        written = await s.want(endpoint, endpoint.wanted, now=300.0)
        assert await names(s, "Updating") == ["Demo"]
        assert await names(s, "InService") == []
        written = await s.advance(written, EndpointState(Status.IN_SERVICE, settled=2), now=301.0)
        assert await names(s, "InService") == ["Demo"]
        await s.want(written, msgspec.structs.replace(written.wanted, deleted=True), now=302.0)
        assert await names(s, "Deleting") == ["Demo"]

    with_store(body)


@pytest.mark.parametrize("text", ["%", "_", "x' OR '1'='1"])
def test_name_contains_is_no_pattern(with_store, text):
    """Rule: signs that SQL gives a meaning are only signs."""

    async def body(s):
        await s.add_model(make_model("demo"))
        return (await s.list_models(OWNER, ListQuery(name_contains=text))).items

    assert with_store(body) == ()
