"""What every store must do."""

import asyncio

import msgspec
import pytest

from polyport import store
from polyport.domain.endpoints import Deployment, EndpointState, Fleet, InstanceRow, Status
from polyport.domain.instances import Image
from polyport.errors import AlreadyExists, StaleWrite
from store.values import OTHER, OWNER, make_config, make_endpoint, make_model

# Models and endpoint configurations


def test_a_model_comes_back_as_it_was_put_in(with_store):
    """Rule: the definition is kept as given, with the case of its name."""
    model = make_model()

    async def body(s):
        await s.add_model(model)
        return await s.get_model(OWNER, model.name)

    assert with_store(body) == model


def test_a_config_comes_back_as_it_was_put_in(with_store):
    """Rule: as for models."""
    config = make_config()

    async def body(s):
        await s.add_endpoint_config(config)
        return await s.get_endpoint_config(OWNER, config.name)

    assert with_store(body) == config


def test_names_are_unique_without_regard_to_case(with_store):
    """Rule: ARNs are lower-case, so `demo` and `DEMO` would be one resource."""

    async def body(s):
        await s.add_model(make_model("demo"))
        await s.add_endpoint_config(make_config("demo"))
        await s.add_endpoint(make_endpoint("demo"))
        for add in (
            s.add_model(make_model("DEMO")),
            s.add_endpoint_config(make_config("DEMO")),
            s.add_endpoint(make_endpoint("DEMO")),
        ):
            with pytest.raises(AlreadyExists, match="demo"):
                await add

    with_store(body)


def test_names_are_looked_up_with_their_case(with_store):
    """Rule: what is called `Demo` is not found as `demo`."""

    async def body(s):
        await s.add_model(make_model("Demo"))
        await s.add_endpoint(make_endpoint("Demo"))
        assert await s.get_model(OWNER, "demo") is None
        assert await s.get_endpoint(OWNER, "demo") is None
        assert not await s.delete_model(OWNER, "demo")
        assert await s.get_model(OWNER, "Demo") is not None

    with_store(body)


def test_owners_do_not_see_each_other(with_store):
    """Rule: the same name in another region is another resource."""

    async def body(s):
        await s.add_model(make_model(owner=OWNER))
        await s.add_model(make_model(owner=OTHER))
        assert await s.delete_model(OTHER, "Two-Models")
        assert await s.get_model(OTHER, "Two-Models") is None
        assert (await s.get_model(OWNER, "Two-Models")) == make_model(owner=OWNER)
        assert (await s.list_models(OTHER, store.ListQuery())).items == ()

    with_store(body)


def test_deleting_says_whether_there_was_something(with_store):
    """Rule: the second delete finds nothing."""

    async def body(s):
        await s.add_endpoint_config(make_config())
        assert await s.delete_endpoint_config(OWNER, "config")
        assert not await s.delete_endpoint_config(OWNER, "config")

    with_store(body)


def test_a_config_comes_with_the_models_that_exist(with_store):
    """Rule: the configuration and its models are seen at one moment; a missing model is simply absent."""
    config = make_config(models=("one", "gone", "one"))

    def model_names(found):
        return [variant["ModelName"] for variant in found.definition["ProductionVariants"]]

    async def body(s):
        await s.add_model(make_model("one"))
        await s.add_endpoint_config(config)
        assert await s.get_config_with_models(OWNER, "nothing", model_names) is None
        return await s.get_config_with_models(OWNER, "config", model_names)

    assert with_store(body) == (config, {"one": make_model("one")})


# Endpoints


def test_an_endpoint_comes_back_as_it_was_put_in(with_store):
    """Rule: whatever the reconciler keeps survives the row."""
    image = Image("skl:1", "skl@sha256:1", 1.5)
    bare = make_endpoint()
    fleet = Fleet(bare.wanted.variants[0], (InstanceRow("i-1", 2.5),), (image,))
    state = EndpointState(Status.UPDATING, 1, "why", None, Deployment(2, "config", 3.5, (fleet,), {"A": [1]}))
    endpoint = msgspec.structs.replace(bare, state=state)

    async def body(s):
        await s.add_endpoint(endpoint)
        assert await s.get_endpoint_by_id(endpoint.id) == endpoint
        assert await s.get_endpoint_by_id("other") is None
        assert await s.all_endpoints() == [endpoint]
        return await s.get_endpoint(OWNER, "Demo")

    assert with_store(body) == endpoint


def test_a_wish_raises_the_generation_and_the_time(with_store):
    """Rule: `want` writes wanted, generation, version and modified_at, and nothing of the state."""
    endpoint = make_endpoint(status=Status.IN_SERVICE)
    deleted = msgspec.structs.replace(endpoint.wanted, deleted=True)

    async def body(s):
        await s.add_endpoint(endpoint)
        written = await s.want(endpoint, deleted, now=300.0)
        assert await s.get_endpoint(OWNER, "Demo") == written
        return written

    written = with_store(body)
    assert (written.generation, written.version, written.modified_at) == (2, 2, 300.0)
    assert (written.wanted, written.state) == (deleted, endpoint.state)


def test_modified_at_changes_with_the_shown_status_alone(with_store):
    """Rule: the reconciler's book-keeping is no modification that users see."""
    endpoint = make_endpoint()
    note = msgspec.structs.replace(endpoint.state, failure_reason="so far")
    done = EndpointState(Status.IN_SERVICE, settled=1)

    async def body(s):
        await s.add_endpoint(endpoint)
        noted = await s.advance(endpoint, note, now=300.0)
        assert (noted.modified_at, noted.version, noted.generation) == (endpoint.modified_at, 2, 1)
        settled = await s.advance(noted, done, now=400.0004)
        assert (settled.modified_at, settled.version) == (400.0, 3)
        assert await s.get_endpoint(OWNER, "Demo") == settled

    with_store(body)


def test_the_loser_of_a_compare_and_swap_changes_nothing(with_store):
    """Rule: a write on the grounds of an old version is refused, whichever side it comes from."""
    endpoint = make_endpoint()

    async def body(s):
        await s.add_endpoint(endpoint)
        newer = await s.advance(endpoint, EndpointState(Status.IN_SERVICE, 1), now=300.0)
        for lost in (
            s.want(endpoint, endpoint.wanted, now=301.0),
            s.advance(endpoint, endpoint.state, now=301.0),
            s.remove_endpoint(endpoint),
        ):
            with pytest.raises(StaleWrite, match="endpoint/demo"):
                await lost
        assert await s.all_endpoints() == [newer]

    with_store(body)


def test_of_many_writers_at_once_exactly_one_wins(url):
    """Rule: compare-and-swap holds across connections and across stores on one file."""
    endpoint = make_endpoint()

    async def main():
        stores = [store.Store(url) for _ in range(3)]
        await stores[0].open()
        await asyncio.gather(*(s.open() for s in stores[1:]))
        await stores[0].add_endpoint(endpoint)
        attempts = [s.want(endpoint, endpoint.wanted, now=300.0 + n) for n in range(5) for s in stores]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        row = await stores[1].get_endpoint(OWNER, "Demo")
        for s in stores:
            await s.close()
        return results, row

    results, row = asyncio.run(main())
    winners = [result for result in results if not isinstance(result, BaseException)]
    assert winners == [row]
    assert all(isinstance(result, StaleWrite) for result in results if result is not row and result != row)


def test_a_removed_endpoint_takes_its_tags_along_and_frees_its_name(with_store):
    """Rule: a new endpoint of the same name starts without the old one's tags."""
    endpoint = make_endpoint()

    async def body(s):
        await s.add_endpoint(endpoint, {"a": "1"})
        await s.remove_endpoint(endpoint)
        assert await s.get_endpoint(OWNER, "Demo") is None
        assert await s.get_tags(endpoint.arn) is None
        await s.add_endpoint(endpoint)
        assert await s.get_tags(endpoint.arn) == {}

    with_store(body)


def test_only_wishes_wake_the_subscribers(with_store):
    """Rule: the hint comes after the commit, for what the API wrote, until the subscription ends."""
    endpoint = make_endpoint()
    heard: list[str] = []

    async def body(s):
        end = s.subscribe(heard.append)
        await s.add_endpoint(endpoint)
        written = await s.want(endpoint, endpoint.wanted, now=300.0)
        assert heard == [endpoint.id, endpoint.id]
        with pytest.raises(StaleWrite):
            await s.want(endpoint, endpoint.wanted, now=300.0)
        written = await s.advance(written, written.state, now=301.0)
        assert len(heard) == 2
        end()
        await s.want(written, written.wanted, now=302.0)
        assert len(heard) == 2

    with_store(body)


# Tags


def test_tags_are_merged_and_overwritten(with_store):
    """Rule: AddTags answers with all tags of the resource, equal keys overwritten; keys keep their case."""
    model = make_model()

    async def body(s):
        await s.add_model(model, {"b": "1", "a": "1"})
        assert await s.put_tags(model.arn, {"B": "", "b": "2"}) == {"B": "", "a": "1", "b": "2"}
        assert await s.delete_tags(model.arn, ["a", "unknown"])
        assert await s.get_tags(model.arn) == {"B": "", "b": "2"}

    with_store(body)


def test_tags_need_a_resource(with_store):
    """Rule: nothing is tagged that is not there."""

    async def body(s):
        arn = make_model().arn
        assert await s.put_tags(arn, {"a": "1"}) is None
        assert await s.get_tags(arn) is None
        assert not await s.delete_tags(arn, ["a"])
        await s.add_model(make_model())
        assert await s.get_tags(arn) == {}

    with_store(body)


def test_deleted_resources_take_their_tags_along(with_store):
    """Rule: as for endpoints."""

    async def body(s):
        await s.add_model(make_model(), {"a": "1"})
        await s.delete_model(OWNER, "Two-Models")
        await s.add_model(make_model())
        assert await s.get_tags(make_model().arn) == {}

    with_store(body)


def test_the_limit_of_fifty_tags_holds_whoever_adds_at_once(with_store):
    """Rule: the limit is checked where it is written; a call over it changes nothing."""
    config = make_config()

    async def body(s):
        await s.add_endpoint_config(config, {f"k{n}": "" for n in range(45)})
        calls = [s.put_tags(config.arn, {f"new{n}": ""}) for n in range(10)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, store.TooManyTags) for result in results) == 5
        tags = await s.get_tags(config.arn)
        assert len(tags) == store.MAX_TAGS
        assert len(await s.put_tags(config.arn, {"k0": "overwritten"})) == store.MAX_TAGS
        with pytest.raises(store.TooManyTags, match="51 tags"):
            await s.put_tags(config.arn, {"k1": "never", "more": ""})
        assert (await s.get_tags(config.arn))["k1"] == ""

    with_store(body)


def test_a_resource_with_too_many_tags_is_not_made(with_store):
    """Rule: creation and its tags are one transaction."""

    async def body(s):
        with pytest.raises(store.TooManyTags):
            await s.add_model(make_model(), {str(n): "" for n in range(51)})
        assert await s.get_model(OWNER, "Two-Models") is None

    with_store(body)
