"""What the daemon is asked for: names, labels, and the bodies of the requests that create things. Pure."""

from collections.abc import Mapping
from typing import Any

from polyport.domain.instances import Container, Instance
from polyport.engines.docker.daemon import PODMAN, Daemon
from polyport.engines.docker.limits import GIB, Size
from polyport.settings import Settings

#: Every container has a network of its own to itself: all may listen where SageMaker's listen.
PORT = 8080
#: For what else a container wants to listen on.
SAFE_RANGE = "8081-8999"

LABEL_HOME = "polyport.home"
LABEL_HOME_PATH = "polyport.home-path"
LABEL_INSTANCE = "polyport.instance"
LABEL_HOSTNAME = "polyport.hostname"
LABEL_DIGEST = "polyport.spec"
#: Of the instance's own labels: for people, and for finding things again.
_SHOWN = ("endpoint", "variant", "account", "region")


def network_name(home: str, instance_id: str) -> str:
    """Of the private network of an instance."""
    return f"polyport-{home[:8]}-{instance_id}"


def container_name(home: str, instance_id: str, hostname: str) -> str:
    """Of a container; there is never a second one for it."""
    return f"{network_name(home, instance_id)}-{hostname}"


def labels(home: str, path: str, instance: Instance) -> dict[str, str]:
    """What a network and every container of an instance carry."""
    shown = {f"polyport.{name}": instance.labels[name] for name in _SHOWN if name in instance.labels}
    return {LABEL_HOME: home, LABEL_HOME_PATH: path, LABEL_INSTANCE: instance.id, **shown}


def network(name: str, subnet: str, gateway: str, *, isolated: bool, labels: Mapping[str, str]) -> dict[str, Any]:
    """A bridge with a subnet that was chosen: only then may containers have addresses that were chosen."""
    return {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Internal": isolated,
        "Labels": dict(labels),
        "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet, "Gateway": gateway}]},
    }


def container(
    it: Container, network_name: str, port: int, size: Size | None, daemon: Daemon, settings: Settings
) -> dict[str, Any]:
    """The body that creates a container, but for its labels and its address. ``port`` is where it is published."""
    environment = {
        **it.environment,
        "SAGEMAKER_BIND_TO_PORT": str(PORT),
        "SAGEMAKER_SAFE_PORT_RANGE": SAFE_RANGE,
    }
    host: dict[str, Any] = {
        "NetworkMode": network_name,
        # The daemon is to start nothing by itself: what ends, and how often, is for us to know.
        "RestartPolicy": {"Name": "no"},
        "ShmSize": settings.shm_size,
        "LogConfig": _log_config(daemon),
        "Mounts": [
            {"Type": "bind", "Source": source, "Target": f"/opt/ml/{path}", "ReadOnly": True}
            for path, source in it.artifacts.items()
        ],
    }
    if daemon.is_selinux:
        # Model data is the user's: relabelling it would take it away from others.
        host["SecurityOpt"] = ["label=disable"]
    if port:
        host["PortBindings"] = {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    if size is not None:
        host |= _limits(size, daemon)
    return {
        "Image": it.image.resolved,
        "Hostname": it.hostname,
        "Cmd": list(it.command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "StopSignal": "SIGTERM",
        "HostConfig": host,
    }


def at_address(config: dict[str, Any], network_name: str, address: str) -> dict[str, Any]:
    """The same, with its name and its address on the instance's network.

    The hardware address follows from the other, as Docker's do: after a restart, this machine still knows the way.
    """
    hardware = "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
    endpoint = {"Aliases": [config["Hostname"]], "IPAMConfig": {"IPv4Address": address}, "MacAddress": hardware}
    return {**config, "NetworkingConfig": {"EndpointsConfig": {network_name: endpoint}}}


def _limits(size: Size, daemon: Daemon) -> dict[str, Any]:
    """Every container may use all of the instance, as on SageMaker, where they share a machine."""
    memory = int(size.memory * GIB)
    limits: dict[str, Any] = {"Memory": memory, "MemorySwap": memory}
    # A daemon refuses more than the machine has.
    limits["NanoCpus"] = int(min(size.cpus, daemon.cpus or size.cpus) * 1e9)
    if size.gpus and daemon.offers_gpus:
        limits["DeviceRequests"] = [{"Driver": "", "Count": size.gpus, "Capabilities": [["gpu"]]}]
    return limits


def _log_config(daemon: Daemon) -> dict[str, Any]:
    """Files at the daemon that cannot fill the disk; long enough for control to be away for a while."""
    if daemon.kind == PODMAN:
        return {"Type": "k8s-file", "Config": {"max-size": "64m"}}
    return {"Type": "json-file", "Config": {"max-size": "32m", "max-file": "2"}}
