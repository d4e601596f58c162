"""mosec: a front in Rust, one Python process per stage, routes made of stages."""

from pathlib import Path

from bench.cases import Case
from bench.peers.peer import APPS, Peer


class Mosec(Peer):
    """Stages pass bytes on as they are, the cheapest that mosec can do."""

    name = "mosec"
    distribution = "mosec"
    requirements = ("mosec",)

    def launch(self, python: Path, folder: Path) -> None:
        """One program starts all."""
        command: list[str | Path] = [python, APPS / "mosec_app.py", "--address", "127.0.0.1", "--port", str(self.port)]
        self.run(self.name, [*command, "--path", folder / "sockets"], folder)

    def path(self, case: Case) -> str:
        """A route each."""
        return f"/{case.endpoint}"

    def expected(self, case: Case) -> bytes:
        """Raw bytes, as from Polyport."""
        return case.expected


SYSTEM = Mosec
