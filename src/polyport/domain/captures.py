"""Data capture: which bodies of a variant's calls are kept, where they go, and what became of them."""

import msgspec


class Capture(msgspec.Struct, frozen=True):
    """``DataCaptureConfig``, as an endpoint's variants carry it."""

    #: ``s3://BUCKET/PREFIX``, as it was given.
    destination: str
    #: Of the calls, chosen by chance: 0 to 100.
    percentage: int
    takes_input: bool
    takes_output: bool
    #: Media types, in lower case, whose bodies are kept as text; all others in base64.
    csv_types: tuple[str, ...] = ()
    json_types: tuple[str, ...] = ()
    kms_key: str = ""
    enabled: bool = True

    @property
    def is_active(self) -> bool:
        """Whether any call is captured."""
        return self.enabled and self.percentage > 0


class Captured(msgspec.Struct, frozen=True, array_like=True):
    """What has become of the captures of one variant in one worker since that began."""

    account: str
    region: str
    endpoint: str
    variant: str
    #: Calls that were kept.
    kept: int
    #: Calls that were to be captured and are not, by the reason.
    dropped: dict[str, int]


class Captures(msgspec.Struct, frozen=True, tag="captures"):
    """Worker to control: the sums that have changed, since the worker began. ``run`` is another for each process;
    what comes again says the same."""

    run: str
    variants: tuple[Captured, ...]
