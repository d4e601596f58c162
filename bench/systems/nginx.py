"""nginx as a plain proxy."""

import os
import string
from pathlib import Path

from bench import tools
from bench.systems.proxy import ENDPOINTS, PATHS, Proxy


class Nginx(Proxy):
    """nginx with one worker. Large requests are passed on while they arrive, streams unbuffered."""

    name = "nginx"

    def command(self, config: Path) -> tuple[list[str | Path], dict[str, str]]:
        program, environment = tools.system_program(self.cache, "nginx", install=self.install)
        self.title = f"nginx {tools.version([program, '-v'], environment)}"
        return [program, "-p", config.parent, "-c", config], environment

    def configuration(self, folder: Path) -> str:
        upstreams = "".join(
            f"upstream {endpoint} {{ server 127.0.0.1:{self.ground.models[endpoint][0]}; "
            "keepalive 256; keepalive_requests 1000000000; }\n"
            for endpoint in ENDPOINTS
        )
        locations = "".join(
            f"location = {path} {{ proxy_pass http://{endpoint}/invocations; "
            f"{'proxy_buffering off;' if 'stream' in path else ''} }}\n"
            for path, endpoint in PATHS
        )
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        return string.Template(NGINX).substitute(
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            port=self.port,
            upstreams=upstreams,
            locations=locations,
            temporary=temporary,
        )


NGINX = """
$user
daemon off;
pid $folder/pid;
error_log $folder/error.log error;
worker_processes 1;
events { worker_connections 16384; }
http {
access_log off;
$temporary
client_max_body_size 0;
client_body_buffer_size 1m;
keepalive_requests 1000000000;
$upstreams
server {
listen 127.0.0.1:$port backlog=1024;
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_request_buffering off;
$locations
}
}
"""
