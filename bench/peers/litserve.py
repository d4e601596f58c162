"""LitServe: one API in front of inference processes."""

from pathlib import Path

from bench.cases import Case
from bench.peers.peer import APPS, Peer


class LitServe(Peer):
    """The direct call alone."""

    name = "litserve"
    distribution = "litserve"
    requirements = ("litserve",)
    no_chain = "LitServe has no feature that composes models; its users call one from the other"

    def launch(self, python: Path, folder: Path) -> None:
        """One API server, one inference process."""
        self.run(self.name, [python, APPS / "litserve_app.py", str(self.port)], folder)

    def path(self, case: Case) -> str:
        """The only one."""
        del case
        return "/predict"


SYSTEM = LitServe
