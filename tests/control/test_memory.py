"""What of a container's memory is told in the time line."""

from polyport.control import memory
from polyport.control.memory import Peak
from polyport.engines.contract import Usage

MIB = 1 << 20


def told(*used: int, limit: int | None = None, cpu: tuple[float, ...] = ()) -> list[str]:
    """What is news of these, one after the other."""
    peak: Peak | None = None
    found = []
    for number, each in enumerate(used):
        seconds = cpu[number] if cpu else float(number)
        peak, news = memory.observe(peak, Usage("i-1", "one", 1.0, seconds, each * MIB, limit))
        found.append(news)
    return found


def test_it_is_news_when_it_doubled() -> None:
    """And at first; what is given back is none, and does not count again when it comes back."""
    assert told(100, 150, 199, 200, 20, 200, 400) == [
        "100 MiB in use",
        "",
        "",
        "200 MiB in use",
        "",
        "",
        "400 MiB in use",
    ]


def test_it_is_news_when_it_is_nearly_all() -> None:
    """At four fifths, nine tenths and nineteen twentieths of the limit."""
    news = told(600, 790, 800, 850, 910, 940, 955, 999, limit=1000 * MIB)
    assert [each.partition(" MiB")[0] for each in news] == ["600", "", "800", "", "910", "", "955", ""]
    assert news[-2] == "955 MiB of 1000 MiB in use"


def test_another_run_begins_anew() -> None:
    """Its CPU time says that it is another."""
    assert told(100, 100, 100, cpu=(1.0, 2.0, 0.5)) == ["100 MiB in use", "", "100 MiB in use"]
