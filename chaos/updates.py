"""Updates one after the other, of every strategy in turn."""

import itertools
import threading
import time
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from chaos.ground import DEADLINE, Broken, Ground
from chaos.strategies import STRATEGIES


class Updates:
    """Of one endpoint that `Ground.create` made. As a context they go on, in a thread, until the block ends."""

    def __init__(self, ground: Ground, endpoint: str) -> None:
        self._ground = ground
        self._endpoint = endpoint
        self._order = zip(itertools.cycle("ba"), itertools.cycle(STRATEGIES.items()), strict=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        #: How many ended well, by strategy, and what went wrong.
        self.done: dict[str, int] = dict.fromkeys(STRATEGIES, 0)
        self.rolled_back = 0
        self.troubles: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * DEADLINE)

    def step(self) -> str:
        """One update, until it has ended; its strategy. Raises `Broken` when it does not end."""
        letter, (strategy, options) = next(self._order)
        config = f"{self._endpoint}-{letter}"
        self._ask(config, options)
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            described = self._ground.describe(self._endpoint)
            if described.get("EndpointStatus") == "InService":
                if described["EndpointConfigName"] == config:
                    self.done[strategy] += 1
                else:
                    self.rolled_back += 1
                return strategy
            if described.get("EndpointStatus") in ("Failed", "UpdateRollbackFailed"):
                raise Broken(f"an update ({strategy}) ended as {described['EndpointStatus']}")
            time.sleep(0.1)
        raise Broken(
            f"an update ({strategy}) has not ended after {DEADLINE:g} s: {self._ground.describe(self._endpoint)}"
        )

    def _ask(self, config: str, options: dict[str, Any]) -> None:
        """Until it is taken: control may be away, the disk may be full."""
        until = time.monotonic() + DEADLINE
        while True:
            try:
                self._ground.client(attempts=1).update_endpoint(
                    EndpointName=self._endpoint, EndpointConfigName=config, **options
                )
            except (ClientError, BotoCoreError) as error:
                # It may have been done although the answer was lost.
                described = self._ground.describe(self._endpoint)
                if described.get("PendingDeploymentSummary", {}).get("EndpointConfigName") == config:
                    return
                if described.get("EndpointConfigName") == config:
                    return
                if time.monotonic() > until:
                    raise Broken(f"UpdateEndpoint: {error}") from error
                time.sleep(0.2)
            else:
                return

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.step()
            except Broken as error:
                self.troubles.append(str(error))
                return
