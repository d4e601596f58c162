"""What a request for an endpoint is made into."""

from collections.abc import Callable

from polyport.gateway.calls.invocation import Invocation
from polyport.gateway.calls.refusal import Refusal
from polyport.gateway.calls.streaming import StreamedInvocation
from polyport.gateway.clients.exchange import Exchange, Taker

Makers = tuple[Callable[..., Taker], Callable[..., Taker], Callable[..., Exchange]]
"""Makes an `Invocation`, a `StreamedInvocation`, a `Refusal`, or what stands for one, each of the same arguments."""

PLAIN: Makers = (Invocation, StreamedInvocation, Refusal)
