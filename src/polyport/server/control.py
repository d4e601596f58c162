"""The control process, all its parts joined: ``python -m polyport.server.control SETTINGS WORKERS``."""

import asyncio
import contextlib
import gc
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from polyport.access import callers
from polyport.access.gate import Gate
from polyport.access.vault import open_vault
from polyport.api import app as api
from polyport.api.context import Context
from polyport.artifacts.cache import Cache
from polyport.artifacts.outgoing import Outgoing
from polyport.control import chronicle, health, plan
from polyport.control.chronicle import Chronicle
from polyport.control.limits import Limits
from polyport.control.reconcile import Reconciler
from polyport.domain.access import AccessTable
from polyport.domain.routes import Refused
from polyport.engines import catalog
from polyport.engines.contract import Dependent
from polyport.errors import EngineError, PolyportError, StoreError, UsageError
from polyport.server import alarming, guests, internals, processes, supplies
from polyport.server.access import Watcher, is_loopback
from polyport.server.actions.book import Book
from polyport.server.actions.courier import Courier
from polyport.server.capturing import Sender
from polyport.server.children import EXIT_USAGE
from polyport.server.metering import Metering
from polyport.server.sockets import sockets
from polyport.server.workers import Siblings
from polyport.settings import Settings, from_json
from polyport.store import Store, sqlite_url
from polyport.telemetry.audit import AuditLog, Record
from polyport.telemetry.logs import retention
from polyport.telemetry.logs.shelf import Shelf
from polyport.telemetry.metrics import keeping
from polyport.telemetry.metrics.families import Samples

log = logging.getLogger(__name__)

#: Seconds on top of the containers' own stop time-out that stopping all instances may take.
STOP_MARGIN = 5.0
#: Seconds between two looks for what nothing needs any more.
HOUSEKEEPING_INTERVAL = 3600.0
#: Seconds between two looks at the age and the size of the logs.
RETENTION_INTERVAL = 60.0


class Control:
    """All parts of control, made from settings; `run` serves until it is told to stop."""

    def __init__(self, settings: Settings, others: frozenset[str] = frozenset()) -> None:
        self.settings = settings
        #: Gateway workers of another server that may serve by our tables.
        self._others = others
        self.store = Store(sqlite_url(settings.home / "polyport.db"))
        self.cache = Cache(settings, takes_files=_takes_files(settings))
        self.supplies = supplies.of(settings, self.cache)
        self.engine = catalog.create(settings)
        self.reconciler = Reconciler(
            rows=self.store,
            engine=self.engine,
            preparer=self.supplies.preparer,
            rules=health.Rules(
                startup_timeout=settings.startup_timeout,
                startup_restarts=settings.startup_restarts,
                ping_interval=settings.ping_interval,
                unhealthy_after=settings.unhealthy_after,
                healthy_after=settings.healthy_after,
                replace_after=settings.replace_after,
                replace_falls=settings.replace_falls,
            ),
            workers=settings.workers,
            ping_timeout=settings.ping_timeout,
            alarms=self.store.alarms,
            limits=Limits(
                image_pull=settings.image_pull_timeout,
                download=settings.download_timeout,
                startup=settings.startup_timeout,
                engine=settings.engine_timeout,
                stop=settings.stop_timeout,
                gateway=settings.gateway_timeout,
                drain=max(settings.drain_timeout, settings.invocation_timeout, settings.stream_timeout),
                replace_percent=settings.replace_percent,
            ),
            gateways=Siblings(),
            chronicle=Chronicle(settings.home),
        )
        self.vault = open_vault(settings.home)
        self.access = Watcher(self.store, self.vault, settings, self._take_access)
        self.gate = Gate()
        self.audit = _audit_log(settings)
        self.metrics = keeping.Metrics(settings.home / keeping.FILE_NAME)
        self.metering = Metering(self.metrics, self.reconciler.view, self.engine, settings.home)
        self.captures = Sender(settings.home, Outgoing(settings))
        self.logs = Shelf(settings.home / "logs", settings.log_retention_days)
        actions = Book(settings.home / settings.alarm_actions, settings.account_id, settings.alarm_urls)
        self.courier = Courier(self.store.alarms, actions)
        self.reconciler.publisher.on_refused = self._note_refusals
        self.reconciler.publisher.on_counts = self.metering.take
        self.reconciler.publisher.on_captures = self.captures.take
        self._stopping = asyncio.Event()
        self._is_leaving = False

    def health(self) -> tuple[bool, dict[str, Any]]:
        """What ``GET /healthz`` says: whether every gateway worker serves by the latest table, and what is degraded.

        Trouble of the engine leaves it at 200: calls go on.
        """
        publisher = self.reconciler.publisher
        trouble = self.engine.trouble if isinstance(self.engine, Dependent) and publisher.is_ready else ""
        status = "degraded" if trouble else "ok"
        return publisher.is_ready, {
            "status": status if publisher.is_ready else "starting",
            **({"trouble": trouble} if trouble else {}),
            "workers": len(publisher.workers),
            "workers_expected": self.settings.workers,
            "gateways": sorted(worker.hello.worker for worker in publisher.workers if worker.acknowledged),
            "engine": self.settings.engine,
            "authentication": "none" if self.access.table.is_open else "signatures",
        }

    async def run(self) -> None:
        """Serve until SIGTERM, then stop all instances; or until SIGUSR2, and leave them to the next control. Raises
        `StoreError`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGUSR2, self._leave)
        await self.store.open()
        unsubscribe = self.store.subscribe(self.reconciler.wake)
        tasks: list[asyncio.Task[None]] = []
        try:
            await self.metering.open()
            # Before anything is published: gateways serve by their first table.
            await self._load_access()
            if self.audit is not None:
                self.audit.open()
            tasks = [
                asyncio.create_task(self._keep_house()),
                asyncio.create_task(self._keep_logs()),
                asyncio.create_task(self.access.run()),
                asyncio.create_task(self.metering.run()),
                asyncio.create_task(self.courier.run()),
            ]
            self.captures.start()
            await self.reconciler.start()
            meeting = sockets(self.settings.home)
            publisher = self.reconciler.publisher
            if self._others:
                publisher.expect(self.settings.workers + len(self._others))
                tasks.append(asyncio.create_task(guests.attend(publisher, self.settings.workers, self._others)))
            await publisher.open(meeting.channel)
            meeting.control.unlink(missing_ok=True)
            await self._serve(str(meeting.control))
            if not self._is_leaving:
                log.info("stopping all instances")
                await self.reconciler.stop_instances(self.settings.stop_timeout + STOP_MARGIN)
        finally:
            unsubscribe()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.reconciler.stop()
            await asyncio.to_thread(self.captures.close)
            await self.supplies.close()
            await self.cache.close()
            await self.store.close()
            await self.metrics.close()
            if self.audit is not None:
                self.audit.close()

    def _leave(self) -> None:
        self._is_leaving = True
        self._stopping.set()

    async def _load_access(self) -> None:
        await self.access.load()
        if not self.access.table.keys and not is_loopback(self.settings.host):
            raise UsageError(
                f"{self.settings.host} can be reached from other machines, and without a key anybody there could use "
                "this server. Make a key first: polyport key create --user NAME --policy AdministratorAccess"
                f"{'' if _is_usual(self.settings) else f' --home {self.settings.home}'}. "
                "Or listen on this machine only: --host 127.0.0.1."
            )

    def note(self, record: Record) -> None:
        """For the audit log."""
        if self.audit is not None:
            self.audit.add(record)

    async def internals(self) -> dict[str, Samples]:
        """For ``GET /metrics``. Raises `StoreError`."""
        return {
            **internals.of_containers(self.metering),
            **internals.of_disk(self.settings.home),
            **internals.of_gateways(self.reconciler.publisher),
            **internals.of_reconciler(self.reconciler),
            **internals.of_alarms(await self.store.alarms.all(), self.courier.results),
            **self.captures.samples(),
            "polyport_metrics_dropped_total": {(): self.metrics.dropped},
            "polyport_audit_records_lost_total": {(): self.audit.lost if self.audit is not None else 0},
        }

    def _take_access(self, table: AccessTable) -> None:
        self.gate.take(table)
        self.reconciler.take_access(table)

    def _note_refusals(self, message: Refused) -> None:
        if self.audit is not None:
            for record in message.records:
                self.audit.add_line(record)
            if message.lost:
                self.audit.lose(message.lost)

    async def _keep_house(self) -> None:
        """Drop the images that lost their tag to a later build and that no endpoint runs any more."""
        while True:
            endpoints = await self.store.all_endpoints()
            alive = [row.id for endpoint in endpoints for row in plan.all_instances(endpoint.state)]
            await asyncio.to_thread(chronicle.sweep, self.settings.home, alive)
            in_use = {image for endpoint in endpoints for image in endpoint.state.images}
            try:
                dropped = await asyncio.to_thread(self.supplies.prune, in_use)
                if dropped:
                    log.info("dropped %d images that nothing needs", len(dropped))
            except PolyportError as error:
                log.warning("unused images could not be dropped: %s", error)
            await asyncio.sleep(HOUSEKEEPING_INTERVAL)

    async def _keep_logs(self) -> None:
        """Remove the output of containers that is too old or too much."""
        while True:
            most = self.settings.log_total_bytes
            try:
                removed = await asyncio.to_thread(retention.enforce, self.logs, time.time(), most)
                if removed:
                    log.info("removed %d log files by retention", removed)
            except OSError as error:
                log.warning("old logs could not be removed: %s", error)
            await asyncio.sleep(RETENTION_INTERVAL)

    async def _serve(self, path: str) -> None:
        images, artifacts = self.supplies.images, self.supplies.artifacts
        nobody = callers.anybody(self.settings.account_id, self.settings.region)
        context = Context(
            nobody,
            self.gate,
            self.store,
            images,
            artifacts,
            self.reconciler.view,
            self.metrics,
            api.now,
            self.access.wake,
            metrics_open=self.settings.metrics_open,
            # An engine that says nothing of it can keep an instance from the network.
            why_no_network_isolation=getattr(self.engine, "why_no_network_isolation", lambda: ""),
            is_stopping=self._stopping.is_set,
            logs=self.logs,
        )
        application = api.application(context, self)
        config = uvicorn.Config(
            application, uds=path, lifespan="off", log_level="warning", access_log=False, server_header=False
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve())
        evaluating = asyncio.create_task(alarming.run(context))
        stopping = asyncio.create_task(self._stopping.wait())
        # What start-up made stays for good: the collector need not look at it again.
        gc.freeze()
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        evaluating.cancel()
        await asyncio.gather(evaluating, return_exceptions=True)
        server.should_exit = True
        await serving


def _audit_log(settings: Settings) -> AuditLog | None:
    if not settings.audit_log:
        return None
    return AuditLog(settings.home / settings.audit_log, settings.audit_max_bytes, settings.audit_files)


def _takes_files(settings: Settings) -> bool:
    if settings.file_model_data == "auto":
        return is_loopback(settings.host)
    return settings.file_model_data == "on"


def _is_usual(settings: Settings) -> bool:
    return settings.home == Path("~/.polyport").expanduser()


class _Server(uvicorn.Server):
    """uvicorn, but signals are ours: control has more to stop than its HTTP server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> None:
    """Run with what the launcher passes as JSON: the settings, and the names of another server's gateway workers."""
    processes.die_with_parent()
    settings, others = from_json(sys.argv[1]), frozenset(json.loads(sys.argv[2]))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        uvloop.run(Control(settings, others).run())
    except (StoreError, UsageError) as error:
        sys.stderr.write(f"polyport: {error}\n")
        sys.exit(EXIT_USAGE)
    except EngineError as error:
        # A daemon may come back: the launcher tries again, and what runs goes on.
        sys.stderr.write(f"polyport: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
