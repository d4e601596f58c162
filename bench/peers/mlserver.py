"""MLServer (Seldon): custom runtimes behind REST."""

import json
from pathlib import Path

from bench.cases import Case
from bench.ground import free_port
from bench.peers.peer import APPS, Peer


class MLServer(Peer):
    """The direct call alone, through a custom handler."""

    name = "mlserver"
    distribution = "mlserver"
    requirements = ("mlserver", "uvloop<0.22")  # its workers do not start with a newer uvloop
    no_chain = "MLServer leaves pipelines to Seldon Core, which needs Kubernetes"

    def launch(self, python: Path, folder: Path) -> None:
        """`mlserver start` on a folder with settings."""
        del python
        (folder / "settings.json").write_text(json.dumps(self._settings()))
        (folder / "model-settings.json").write_text('{"name": "echo", "implementation": "mlserver_app.Echo"}')
        self.run(self.name, ["mlserver", "start", folder], folder, PYTHONPATH=str(APPS), PYTHONDONTWRITEBYTECODE="1")

    def path(self, case: Case) -> str:
        """The custom handler's."""
        return f"/{case.endpoint}"

    def _settings(self) -> dict[str, object]:
        ports = {"http_port": self.port, "grpc_port": free_port(), "metrics_port": free_port()}
        return {"host": "127.0.0.1", **ports, "debug": False, "parallel_workers": 1}


SYSTEM = MLServer
