"""What must hold when all is quiet again, whatever was done before."""

import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing

from chaos.ground import DEADLINE, Broken, Ground, is_settled, wait_for


def converged(ground: Ground) -> None:
    """Every endpoint is as its row says, and nothing else runs. Raises `Broken`."""
    wait_for(ground.is_ready, "the server to be ready")
    names = [one["EndpointName"] for one in ground.client().list_endpoints()["Endpoints"]]
    for name in names:
        wait_for(lambda name=name: is_settled(ground.describe(name)), f"{name} to converge", DEADLINE)  # type: ignore[misc]
    wait_for(lambda: _is_exact(ground, names), "as many instances and containers as are wanted, and no more")
    runtime = ground.client("sagemaker-runtime", attempts=1)
    for name in names:
        try:
            runtime.invoke_endpoint(EndpointName=name, Body=b"last")["Body"].read()
        except Exception as error:
            raise Broken(f"{name} is InService and cannot be invoked: {error}") from error


def of_home(ground: Ground) -> Iterator[str]:
    """What is wrong with what is kept."""
    with closing(sqlite3.connect(ground.home / "polyport.db", timeout=DEADLINE)) as rows:
        [(damage,)] = rows.execute("PRAGMA integrity_check(1)")
        if damage != "ok":
            yield f"the database is damaged: {damage}"


def answers(port: int) -> bool:
    """Whether a model server answers /ping there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _is_exact(ground: Ground, names: list[str]) -> bool:
    wanted = 0
    for name in names:
        variants = ground.describe(name).get("ProductionVariants", ())
        wanted += sum(one["DesiredInstanceCount"] for one in variants)
    instances = ground.instances()
    folders = list((ground.home / "run" / "instances").glob("i-*"))
    ports = [port for one in instances for port in one.ports]
    return (
        len(instances) == len(folders) == wanted
        and all(map(ground.supervisor, instances))
        and all(map(answers, ports))
        and len(ground.containers(*instances)) >= len(ports)
    )
