"""Containers in a process of their own, for very many calls: ``python crowd.py COUNT`` prints their ports
and serves until its input ends. What a container does is the first word of the request's body."""

import asyncio
import json
import sys

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class Container(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end]).lower()
        at = head.find(b"content-length: ")
        if at < 0:
            # A body in chunks, which ends with the last one.
            if self.buffer.endswith(b"0\r\n\r\n"):
                self.answer(unchunk(bytes(self.buffer[end + 4 :])))
            return
        total = end + 4 + int(head[at + 16 :].split(b"\r\n", 1)[0])
        if len(self.buffer) >= total:
            self.answer(bytes(self.buffer[end + 4 : total]))

    def answer(self, body: bytes) -> None:
        self.buffer.clear()
        write = self.transport.write
        whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        match body.split(b" ", 1)[0]:
            case b"die":
                self.transport.abort()
            case b"half":
                write(whole[:-3])
                asyncio.get_running_loop().call_later(0.002, self.transport.abort)
            case b"nonsense":
                write(b"nonsense\r\n\r\n")
            case b"fail":
                write(whole.replace(b"200 OK", b"500 Error"))
            case b"close":
                write(whole.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                self.transport.close()
            case b"junk":
                write(whole + b"junk")
            case b"chunks":
                write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
                for at in range(0, len(body), 8):
                    piece = body[at : at + 8]
                    write(b"%x\r\n%b\r\n" % (len(piece), piece))
                write(b"0\r\n\r\n")
            case b"never":
                pass
            case _:
                write(whole)


def unchunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body


async def serve(count: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Container, "127.0.0.1", 0) for _ in range(count)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
