"""A thousand endpoints: found like one, and replaced without holding up calls."""

import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest

from gateway import fakes
from gateway.fakes import OK, Reply, World, endpoint, invoke, variant
from gateway.sites import Site, resident_megabytes
from gateway.workers import Lab, instance
from polyport.domain.routes import EndpointRoute
from polyport.gateway import worker

COUNT = 1000
#: Seconds for which a table may keep a worker from its calls.
MOST = 0.02


def name(number: int) -> str:
    return f"endpoint-{number:04d}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lab = Lab(tmp_path_factory.mktemp("scale"))
    with worker.bind("127.0.0.1", 0) as port:
        made = Site(lab, port.getsockname()[1])
        made.publish(*endpoints(made, 0, 0))
        yield made
        lab.close()


def endpoints(site: Site, version: int, changed: int) -> list[EndpointRoute]:
    """A thousand, of which so many are not what they were in the version before; the last of them never changes."""
    ours = [
        endpoint(
            name(number),
            variant(
                instance(f"{number}-{version if number < changed else 0}", site.first),
                instance(f"{number}", site.second),
            ),
        )
        for number in range(COUNT - 1)
    ]
    return [*ours, endpoint(name(COUNT - 1), variant(instance("steady", site.third)))]


def test_each_of_a_thousand_endpoints_is_found(site: Site) -> None:
    """And no other."""
    with site.connect() as client:
        for number in (*range(0, COUNT, 37), COUNT - 1):
            client.sendall(invoke(name(number), b"%d" % number))
            reply = Reply(client.recv(65536))
            assert (reply.status, reply.body) == (200, b"%d" % number)
        client.sendall(invoke(name(COUNT)))
        assert Reply(client.recv(65536)).status == 400
    assert resident_megabytes(site.process.pid) < 60


class Caller:
    """Calls one endpoint again and again, and keeps when each call began and ended."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.calls: list[tuple[float, float]] = []
        self.failures: list[bytes] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def _run(self) -> None:
        with self.site.connect() as client:
            while not self._is_over:
                began = time.monotonic()
                client.sendall(invoke(name(COUNT - 1)))
                answer = client.recv(65536)
                self.calls.append((began, time.monotonic()))
                if not answer.endswith(b"{}"):
                    self.failures.append(answer)

    def longest(self, since: float, until: float) -> float:
        """Of the calls in that time."""
        return max((ended - began for began, ended in self.calls if ended >= since and began <= until))


@pytest.mark.parametrize(("changed", "most"), [(1, MOST), (100, MOST), (COUNT, 3 * MOST)])
def test_a_new_table_of_a_thousand_endpoints_does_not_hold_up_calls(site: Site, changed: int, most: float) -> None:
    """No call fails, and none waits longer than for another call; only when everything changes at once, a little. The
    best of some is judged: what a busy machine adds is not the table's."""
    tables = []
    with Caller(site) as caller:
        for _ in range(8):
            table = endpoints(site, site.version + 1, changed)
            time.sleep(0.02)
            since = time.monotonic()
            site.publish(*table)
            tables.append((since, time.monotonic()))
            time.sleep(0.02)
    stalls = [caller.longest(*table) for table in tables]
    assert not caller.failures
    assert min(stalls) < most, stalls


def test_what_did_not_change_is_kept_as_it_is() -> None:
    """Endpoint, instances and their connections; a change makes a new endpoint of the same instances."""
    first = endpoint("first", variant(fakes.instance("i1", 1)))
    second = endpoint("second", variant(fakes.instance("i2", 2)))
    world = World(first, second)
    owner = (fakes.ACCOUNT, fakes.REGION)
    world.call(invoke("first"), (1, OK))
    before = {one: world.gateway.index.endpoint(owner, one) for one in ("first", "second")}
    heavier = endpoint("second", variant(fakes.instance("i2", 2), weight=2.0))
    world.publish(endpoint("first", variant(fakes.instance("i1", 1))), heavier, version=2)
    index = world.gateway.index
    assert index.endpoint(owner, "first") is before["first"]
    assert index.endpoint(owner, "second") is not before["second"]
    assert set(index.instances) == {"i1", "i2"}
    assert not any(one.is_retired for one in index.instances.values())
    assert len(world.pool(1).idle) == 1
    assert Reply(world.call(invoke("first"), (1, OK))).status == 200


def test_an_instance_that_comes_back_keeps_its_connections_again() -> None:
    """It had let them go when it left the table."""
    here = endpoint("e", variant(fakes.instance("i1", 1)))
    world = World(here)
    client = world.connect()
    client.receive(invoke("e"))
    world.publish(version=2)
    assert world.gateway.draining == ("i1",)
    world.publish(here, version=3)
    world.pool(1).accept().receive(OK)
    assert Reply(client.take()).status == 200
    assert len(world.pool(1).idle) == 1
    assert Reply(world.call(invoke("e"), (1, OK))).status == 200
    assert len(world.pool(1).upstreams) == 1
