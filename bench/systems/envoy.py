"""Envoy as a plain proxy."""

import string
from pathlib import Path

from bench import tools
from bench.systems.proxy import ENDPOINTS, PATHS, Proxy


class Envoy(Proxy):
    """Envoy with one worker thread, without what a plain proxy does not need: request ids and statistics per route."""

    name = "envoy"
    config_name = "config.yaml"  # Envoy goes by the ending

    def command(self, config: Path) -> tuple[list[str | Path], dict[str, str]]:
        program = tools.envoy(self.cache, install=self.install)
        # It prints its path, then HASH/VERSION/KIND.
        found = tools.version([program, "--version"], pattern=r"/\d+\.\d+\.\d+/")
        self.title = f"Envoy {found.strip('/')}"
        quiet = ["--log-level", "warn", "--disable-hot-restart"]
        return [program, "-c", config, "--concurrency", "1", *quiet], {}

    def configuration(self, folder: Path) -> str:
        del folder
        action = "cluster: {}, prefix_rewrite: /invocations, timeout: 60s"
        routes = "".join(
            f'{" " * 14}- {{match: {{path: "{path}"}}, route: {{{action.format(endpoint)}}}}}\n'
            for path, endpoint in PATHS
        )
        clusters = "".join(
            string.Template(ENVOY_CLUSTER).substitute(name=endpoint, port=self.ground.models[endpoint][0])
            for endpoint in ENDPOINTS
        )
        return string.Template(ENVOY).substitute(port=self.port, routes=routes, clusters=clusters)


ENVOY = """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $port}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes:
$routes
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              dynamic_stats: false
              suppress_envoy_headers: true
  clusters:
$clusters
"""

ENVOY_CLUSTER = """
  - name: $name
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: $name
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $port}}}
"""
