# mypy: ignore-errors
"""Runs in mosec's environment: the route /echo of one stage, the route /chain of three."""

from mosec import Server, Worker


class Stage(Worker):
    """Bytes in, bytes and a mark out."""

    mark = b""

    def deserialize(self, data):
        """The body as it is."""
        return data

    def serialize(self, data):
        """The answer as it is."""
        return data

    def forward(self, data):
        """The model."""
        return bytes(data) + self.mark


class Echo(Stage):
    """The direct call."""


class A(Stage):
    """First stage."""

    mark = b"a"


class B(Stage):
    """Second stage."""

    mark = b"b"


class C(Stage):
    """Third stage."""

    mark = b"c"


if __name__ == "__main__":
    server = Server()
    server.append_worker(Echo, num=1, route="/echo")
    for stage in (A, B, C):
        server.append_worker(stage, num=1, route="/chain")
    server.run()
