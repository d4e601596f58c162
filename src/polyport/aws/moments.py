"""Timestamps: epoch seconds inside, and the texts that the protocols make of them."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

#: Years 1 to 9999, in epoch seconds: nothing that takes apart a timestamp goes further.
FIRST, LAST = -62135596800.0, 253402300799.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_iso(text: str) -> float:
    """Epoch seconds of ISO 8601 text, UTC when it names no zone. `ValueError` when it is none."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except OverflowError as error:
        raise ValueError(f"out of range: {text}") from error


def milliseconds(value: datetime | float) -> int:
    """Milliseconds since the epoch: AWS's precision. A number is epoch seconds."""
    return round((value.timestamp() if isinstance(value, datetime) else float(value)) * 1000)


def to_text(value: datetime | float, form: str) -> str:
    """The text of a moment; ``form`` is the model's ``timestampFormat``: iso8601, unixTimestamp or rfc822."""
    total = milliseconds(value)
    if form == "unixTimestamp":
        return str(total // 1000 if total % 1000 == 0 else total / 1000)
    moment = _EPOCH + timedelta(milliseconds=total)
    if form == "rfc822":
        return format_datetime(moment.replace(microsecond=0), usegmt=True)
    precision = "milliseconds" if total % 1000 else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
