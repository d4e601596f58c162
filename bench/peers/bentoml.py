"""BentoML: services that depend on services, each in a process of its own."""

from pathlib import Path

from bench.cases import Case
from bench.peers.peer import APPS, Peer


class BentoML(Peer):
    """A front service, and three more behind it for the chain."""

    name = "bentoml"
    distribution = "bentoml"
    requirements = ("bentoml",)

    def launch(self, python: Path, folder: Path) -> None:
        """`bentoml serve` starts a process per service."""
        del python
        command: list[str | Path] = ["bentoml", "serve", "bentoml_app:Front", "--host", "127.0.0.1"]
        arguments: list[str | Path] = ["--port", str(self.port), "--working-dir", APPS]
        quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
        self.run(self.name, [*command, *arguments], folder, **quiet)

    def path(self, case: Case) -> str:
        """An API each."""
        return f"/{case.endpoint}"

    def expected(self, case: Case) -> bytes:
        """Its JSON has blanks."""
        return super().expected(case).replace(b":", b": ").replace(b",", b", ")


SYSTEM = BentoML
