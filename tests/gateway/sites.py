"""A worker with endpoints of every mode, and what clients without an SDK say to it."""

import os
import socket
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from gateway.fakes import Reply, endpoint, variant
from gateway.workers import DEADLINE, FakeContainer, Lab, Visit, instance, wait_for
from polyport.domain.routes import Acknowledge, EndpointRoute


class Site:
    """One worker with a single, a direct and a serial endpoint."""

    def __init__(self, lab: Lab, port: int, **settings: Any) -> None:
        self.lab = lab
        self.port = port
        self.first, self.second, self.third = (lab.container() for _ in range(3))
        self.version = 1
        lab.control.publish(*self.endpoints, version=1)
        self.process = lab.start(port, **settings)
        wait_for(lambda: lab.control.of(Acknowledge), "the first table")

    @property
    def endpoints(self) -> list[EndpointRoute]:
        """By the containers as they are now."""
        return [
            endpoint("single", variant(instance("s", self.first))),
            endpoint(
                "direct",
                variant(instance("d", self.first, self.second), mode="Direct", hostnames=("first", "second")),
            ),
            endpoint(
                "serial",
                variant(
                    instance("x", self.first, self.second, self.third), mode="Serial", hostnames=("one", "two", "three")
                ),
            ),
        ]

    def publish(self, *endpoints: EndpointRoute) -> Acknowledge:
        """A new table (without an argument: the site's own), taken when this returns; what the worker says of it."""
        self.version += 1
        self.lab.control.publish(*(endpoints or self.endpoints), version=self.version)
        return wait_for(
            lambda: next((one for one in self.lab.control.of(Acknowledge) if one.version == self.version), None),
            "the table to be taken",
        )

    def is_quiet(self) -> bool:
        """Whether no call is in flight at any of the site's instances. Afterwards it serves none of them."""
        return self.publish(endpoint("nothing", variant())).draining == ()

    @property
    def runtime(self) -> Any:
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=DEADLINE),
        )
        self.lab.clients.append(client)
        return client

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE)

    def raw(self, request: bytes) -> Reply:
        """One request on a connection of its own."""
        with self.connect() as client:
            client.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            return Reply(read_all(client))

    def visited(self, container: FakeContainer, count: int = 1) -> Visit:
        wait_for(lambda: len(container.visits) >= count, "a visit")
        return container.visits[count - 1]


def read_all(client: socket.socket) -> bytes:
    pieces = []
    while piece := client.recv(2**20):
        pieces.append(piece)
    return b"".join(pieces)


def is_cut_short(client: socket.socket) -> bool:
    """Whether an answer of 1000 bytes ends before its end, which a reset may show before the last byte was read."""
    try:
        return len(Reply(read_all(client)).body) < 1000
    except ConnectionResetError:
        return True


def resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
