"""The client: ``python -m chaos.client URL FILE ENDPOINT...``. Calls without pause until SIGTERM, each call a line.

For each endpoint two threads of boto3 with connections that are kept, and one that opens a connection for each call.
"""

import http.client
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import boto3
import botocore.config
import msgspec
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from chaos.calls import CONNECTION, OK, WRONG, Call

#: Seconds between two calls of a thread.
PAUSE = 0.004
#: Seconds that every fourth call asks the model to take, so that some are always in flight.
HOLD = 0.1
_HTTP_OK = 200


class Caller:
    """One thread's calls."""

    def __init__(self, name: str, endpoint: str, send: Callable[[str, bytes], bytes], out: IO[bytes]) -> None:
        self._name = name
        self._endpoint = endpoint
        self._send = send
        self._out = out

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``."""
        for number in itertools.count():
            if stop.is_set():
                return
            call = self._call(f"{self._name}-{number}", slow=number % 4 == 0)
            self._out.write(msgspec.json.encode(call) + b"\n")
            self._out.flush()
            time.sleep(PAUSE if call.outcome == OK else 10 * PAUSE)

    def _call(self, name: str, *, slow: bool) -> Call:
        body = f"{name} hold={HOLD}".encode() if slow else name.encode()
        outcome, text, by, began = OK, "", "", time.monotonic()
        try:
            answer = self._send(self._endpoint, body)
            by = answer.rpartition(b"|")[2].decode(errors="replace")
            if not answer.startswith(body + b"|"):
                outcome, text = WRONG, answer[:200].decode(errors="replace")
        except ClientError as error:
            outcome, text = error.response["Error"]["Code"], str(error)
        except (BotoCoreError, HTTPClientError, OSError, http.client.HTTPException) as error:
            outcome, text = CONNECTION, f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001  whatever a client can see counts
            outcome, text = type(error).__name__, str(error)
        return Call(name, self._endpoint, began, time.monotonic(), outcome, text, by)


def by_sdk(url: str) -> Callable[[str, bytes], bytes]:
    """An unmodified boto3 client that tries once."""
    settings = botocore.config.Config(retries={"total_max_attempts": 1}, max_pool_connections=16)
    session = boto3.Session("polyport", "polyport", region_name="us-east-1")
    runtime: Any = session.client("sagemaker-runtime", endpoint_url=url, config=settings)

    def send(endpoint: str, body: bytes) -> bytes:
        answer: bytes = runtime.invoke_endpoint(EndpointName=endpoint, Body=body)["Body"].read()
        return answer

    return send


def by_new_connections(url: str) -> Callable[[str, bytes], bytes]:
    """A connection for each call."""
    address = url.removeprefix("http://")

    def send(endpoint: str, body: bytes) -> bytes:
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            connection.request("POST", f"/endpoints/{endpoint}/invocations", body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != _HTTP_OK:
            code = answer.headers.get("x-amzn-errortype", str(answer.status)).partition(":")[0]
            raise ClientError({"Error": {"Code": code, "Message": content[:200].decode(errors="replace")}}, "Invoke")
        return content

    return send


def main(arguments: list[str]) -> int:
    """``arguments``: URL, file, endpoints."""
    url, file, *endpoints = arguments
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Path(file).open("ab") as out:
        callers = [
            Caller(f"{endpoint}-{number}", endpoint, send(url), out)
            for endpoint in endpoints
            for number, send in enumerate((by_sdk, by_sdk, by_new_connections))
        ]
        threads = [threading.Thread(target=caller.run, args=(stop,), daemon=True) for caller in callers]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(70)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
