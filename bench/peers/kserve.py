"""KServe's Python server: transformers in front of a predictor, each a server of its own, called over HTTP."""

from pathlib import Path

from bench.cases import Case
from bench.ground import free_port
from bench.peers.peer import APPS, Peer


class KServe(Peer):
    """A chain of two transformers and a predictor; the direct call goes to a model beside the first of them."""

    name = "kserve"
    distribution = "kserve"
    requirements = ("kserve",)

    def launch(self, python: Path, folder: Path) -> None:
        """Last stage first, for each must know the next one's address."""
        onward: list[str] = []
        for mark, port in (("c", free_port()), ("b", free_port()), ("a", self.port)):
            command: list[str | Path] = [python, APPS / "kserve_app.py", "--http_port", str(port), *onward]
            arguments = ["--enable_grpc", "false", "--workers", "1"]
            self.run(f"kserve-{mark}", [*command, *arguments], folder, MARK=mark, IS_LAST="" if onward else "yes")
            onward = ["--predictor_host", f"127.0.0.1:{port}", "--predictor_protocol", "v1"]

    def path(self, case: Case) -> str:
        """Version 1 of its protocol."""
        return f"/v1/models/{case.endpoint}:predict"


SYSTEM = KServe
