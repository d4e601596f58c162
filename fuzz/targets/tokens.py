"""Session tokens, and the frames between control and gateways.

A token that nobody here sealed opens nothing, whatever it looks like; what is sealed and is no session opens nothing
either. Whatever a frame holds, both ends of the channel take it, or leave it and go on as before.
"""

import asyncio
import base64
import functools
from typing import Any

import msgspec

from fuzz.choices import Choices, pack
from fuzz.fakes import fakes, people
from fuzz.fakes import world as make_world
from fuzz.findings import no_errors_logged, require
from fuzz.target import Target
from polyport.access.tokens import Sealer, Session
from polyport.control.publish import Publisher
from polyport.domain.access import PolicyText, PrincipalKind
from polyport.domain.routes import Acknowledge, Hello, Publish, Refused, RouteTable, Unreachable
from polyport.gateway.channel import Channel

RAW, PLAIN, TO_WORKER, TO_CONTROL = range(4)
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
SESSION = Session(
    key_id="ASIAEXAMPLE",
    secret="very secret",  # noqa: S106  # nobody's
    account="123456789012",
    kind=PrincipalKind.ROLE,
    name="caller",
    principal_id="AROAEXAMPLE",
    issued_at=1.0,
    expires_at=2.0,
    session_name="s",
    policies=(PolicyText("p", "{}"),),
)


def check(data: bytes) -> None:
    """A token, what is in one, or frames."""
    choices = Choices(data)
    match choices.below(4):
        case 0:
            _check_token(choices.payload)
        case 1:
            _check_sealed(choices.payload)
        case 2:
            _check_worker(choices.payload)
        case _:
            _check_control(choices.payload, is_framed=choices.below(2) == 0)


def _check_token(token: bytes) -> None:
    opened = Sealer(KEY).open(token)
    require(opened is None or opened == SESSION, f"a session that nobody sealed: {opened!r}")


def _check_sealed(plain: bytes) -> None:
    sealer = Sealer(KEY)
    opened = sealer.open(sealer._fernet.encrypt(plain))
    if opened is not None:
        require(msgspec.convert(msgspec.to_builtins(opened), Session) == opened, f"no session: {opened!r}")
        require(opened.secret not in repr(opened) or len(opened.secret) < 9, "a secret is shown")


def _check_worker(frame: bytes) -> None:
    """A gateway goes on by the table that it had, or by the new one."""
    world = make_world(fakes.single())
    before, pool = world.gateway.index, world.pool(1)
    taken: list[RouteTable] = []

    def take(table: RouteTable) -> int:
        world.gateway.take(table)
        taken.append(table)
        return table.version

    channel = Channel("", "w", take, lambda: world.gateway.draining)
    # A table that cannot be used is logged: that is what is documented.
    try:
        with no_errors_logged():
            channel._receive(frame)
    except Exception as error:
        if "cannot be used" not in str(error):
            raise
    if not taken:
        require(world.gateway.index is before and world.gateway.guard is None, "half of a table is used")
        client = world.connect()
        client.receive(fakes.invoke("single"))
        require(pool.users, "after a frame that was left, calls do not go where they went")
        pool.accept().receive(fakes.OK)
        require(fakes.Reply(client.take()).status == 200, "a gateway serves no more after a frame that it left")


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


class _Writer:
    """Of a worker that takes whatever it is sent."""

    def __init__(self) -> None:
        self.is_cut = False
        self.transport = self

    def write(self, data: bytes) -> None:
        """Somebody takes it."""

    def abort(self) -> None:
        """Cut off."""
        self.is_cut = True

    def get_write_buffer_size(self) -> int:
        """None."""
        return 0


def _check_control(data: bytes, *, is_framed: bool) -> None:
    """Control hangs up on nonsense, and on nobody else; no worker stays who is gone."""
    heard: list[Any] = []
    publisher = Publisher(1, lambda: None, heard.append)
    publisher.on_refused = heard.append
    publisher.flush()
    writer: Any = _Writer()
    if is_framed:
        pieces = data.split(b"\n\n")
        data = b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces)

    async def serve() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        await publisher._serve(reader, writer)

    with no_errors_logged():
        _loop().run_until_complete(serve())
    require(writer.is_cut and not publisher.workers, "a worker that is gone is counted")
    require(not heard or data, "something was heard that nobody said")
    for one in heard:
        require(isinstance(one, Unreachable | Refused), f"heard: {one!r}")


def _seeds() -> list[bytes]:
    encode = msgspec.msgpack.encode
    sealed = Sealer(KEY).seal(SESSION).encode()
    table = RouteTable(3, fakes.OPEN, (fakes.single(), fakes.direct(), fakes.serial()), (("1", "r", "n", "Creating"),))
    moved = fakes.endpoint("single", fakes.variant(fakes.instance("i1", 2)))
    impossible = fakes.endpoint("another", fakes.variant(fakes.instance("i9", 3), hostnames=("a", "b")))
    unusable = people.table(token_key="no key of Fernet's")  # noqa: S106  # nobody's
    messages = [Hello("w", 1), Acknowledge(1, ("i",)), Unreachable("i", "h", "r"), Refused((b"{}",), 1)]
    frames = b"\n\n".join(map(encode, messages))
    return [
        pack(sealed, RAW),
        pack(sealed[:-1] + b"A", RAW),
        pack(b"gAAAAA==", RAW),
        pack(encode(SESSION), PLAIN),
        pack(encode(Publish(table)), TO_WORKER),
        pack(encode(Publish(RouteTable(3, fakes.OPEN))), TO_WORKER),
        pack(encode(Publish(msgspec.structs.replace(table, access=unusable))), TO_WORKER),
        pack(encode(Publish(msgspec.structs.replace(table, endpoints=(moved, impossible)))), TO_WORKER),
        # Nested without end, where nothing is expected.
        pack(b"\x83\xa4type\xa7publish\xa1x" + b"\x91" * 1500 + b"\xc0", TO_WORKER),
        pack(b"\x82\xa1x" + b"\x91" * 1500 + b"\xc0", PLAIN),
        pack(b"\x83\xa4type\xa3ack\xa1x" + b"\x91" * 1500 + b"\xc0", TO_CONTROL, 0),
        pack(frames, TO_CONTROL, 0),
        pack(frames, TO_CONTROL, 1),
        pack(b"".join(len(one).to_bytes(4, "big") + one for one in map(encode, messages)), TO_CONTROL, 1),
    ]


TOKENS = (
    *(
        b"\n\n",
        b"\x91" * 64,
        b"\x81\xa4type",
        b"\xa5hello",
        b"\xa7publish",
        b"\xa3ack",
        b"\xabunreachable",
        b"\xa7refused",
    ),
    *(
        b"\xc0",
        b"\xc2",
        b"\xcb\x7f\xf8\0\0\0\0\0\0",
        b"\xcf" + b"\xff" * 8,
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
    ),
    *(
        b"\xd9\xff",
        b"\xc7\x0c\xff",
        b"\xd6\xff",
        b"\xa1\xff",
        b"=",
        b"-",
        b"_",
        b"gAAAAA",
        b"version",
        b"endpoints",
        b"mode",
    ),
    *(
        b"Direct",
        b"Serial",
        b"hostnames",
        b"instances",
        b"weight",
        b"access",
        b"is_open",
        b"keys",
        b"token_key",
        b"grantees",
    ),
)
TARGET = Target("tokens", check, _seeds, TOKENS)
