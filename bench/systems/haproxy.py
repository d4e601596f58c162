"""HAProxy as a plain proxy."""

import string
from pathlib import Path

from bench import tools
from bench.systems.proxy import ENDPOINTS, PATHS, Proxy


class Haproxy(Proxy):
    """HAProxy with one thread."""

    name = "haproxy"

    def command(self, config: Path) -> tuple[list[str | Path], dict[str, str]]:
        program, environment = tools.system_program(self.cache, "haproxy", install=self.install)
        self.title = f"HAProxy {tools.version([program, '-v'], environment)}"
        return [program, "-f", config, "-db"], environment

    def configuration(self, folder: Path) -> str:
        del folder
        rules = "".join(f"    use_backend {endpoint} if {{ path {path} }}\n" for path, endpoint in PATHS)
        backends = "".join(
            f"backend {endpoint}\n    http-request set-path /invocations\n"
            f"    server model 127.0.0.1:{self.ground.models[endpoint][0]}\n"
            for endpoint in ENDPOINTS
        )
        return string.Template(HAPROXY).substitute(port=self.port, rules=rules, backends=backends)


HAPROXY = """
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 300s
    timeout server 60s
frontend bench
    bind 127.0.0.1:$port
$rules
$backends
"""
