"""A daemon that gets stuck on some requests: a proxy before a Unix socket that holds those back for ever."""

import asyncio
from pathlib import Path


class StallingProxy:
    """Passes everything on to ``target``, but requests that hold ``needle`` in a chunk of theirs."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self.needle = b""
        #: How many requests are held back.
        self.stuck = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listens."""
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def close(self) -> None:
        """Ends every connection, those that hang too."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(str(self._target))
            back = asyncio.create_task(self._pump(there_reader, writer, check=False))
            self._tasks.add(back)
            await self._pump(reader, there_writer, check=True)
            await back
        except OSError:
            pass
        finally:
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, check: bool) -> None:
        try:
            while data := await reader.read(65536):
                if check and self.needle and self.needle in data:
                    self.stuck += 1
                    await asyncio.Event().wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
