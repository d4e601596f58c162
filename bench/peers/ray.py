"""Ray Serve: deployments that call deployments through handles."""

from pathlib import Path

from bench.cases import Case
from bench.peers.peer import APPS, Peer


class RayServe(Peer):
    """A front deployment, and three more behind it for the chain."""

    name = "ray"
    distribution = "ray"
    requirements = ("ray[serve]",)

    def launch(self, python: Path, folder: Path) -> None:
        """One program starts a cluster of its own."""
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}
        self.run(self.name, [python, APPS / "ray_app.py", str(self.port)], folder, **quiet)

    def path(self, case: Case) -> str:
        """The front looks at the path."""
        return f"/{case.endpoint}"

    def expected(self, case: Case) -> bytes:
        """Raw bytes, as from Polyport."""
        return case.expected


SYSTEM = RayServe
