"""Lines that belong together."""

from polyport.telemetry.logs.blocks import Block, Blocks
from polyport.telemetry.logs.records import Event

CHAIN = """\
failed
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    1 / 0
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
ValueError: no""".splitlines()


def event(at: float, text: str, source: str = "stderr") -> Event:
    return Event(int(at * 1_000_000), source, text, 1, 0, 0)


def shown(blocks: list[Block]) -> list[list[str]]:
    return [[line.text for line in block.events] for block in blocks]


def test_a_traceback_is_one_block_whatever_others_print() -> None:
    """Rule: the message before it, chained ones and their empty lines belong to it; others' lines are beside it."""
    blocks, done = Blocks(), []
    for number, text in enumerate(CHAIN):
        done += blocks.add("a", event(number / 1000, text))
        done += blocks.add("b", event(number / 1000 + 0.0005, f"b{number}"))
    done += blocks.add("a", event(0.5, "next"))
    done += blocks.flush()
    assert shown(done)[0] == CHAIN
    assert shown(done)[1:] == [[f"b{number}"] for number in range(len(CHAIN))] + [["next"]]


def test_blocks_come_in_the_order_of_their_first_lines() -> None:
    """Rule: what a container printed to its other stream meanwhile comes after; nothing waits for ever."""
    blocks = Blocks()
    assert blocks.add("a", event(0, "begin")) == []
    assert blocks.add("a", event(0.1, "between", "stdout")) == []
    assert blocks.add("a", event(0.2, "  more")) == []
    assert shown(blocks.expire(800_000)) == [["begin", "  more"], ["between"]]
    assert blocks.flush() == []


def test_single_lines_are_blocks() -> None:
    """Rule: lines that nothing ties together stay apart."""
    blocks, done = Blocks(), []
    for number in range(3):
        done += blocks.add("a", event(number / 100, f"line {number}"))
    assert shown(done + blocks.flush()) == [["line 0"], ["line 1"], ["line 2"]]
