"""Python servers that compose models, each by its own feature for that, on Polyport's direct call and chain of 3.

`python -m bench.peers` runs them. A peer is a module here, with what runs in its own virtual environment in ``apps/``.
"""

from bench.peers import bentoml, kserve, litserve, mlserver, mosec, ray
from bench.peers.peer import Peer

PEERS: dict[str, type[Peer]] = {
    module.SYSTEM.name: module.SYSTEM for module in (mosec, bentoml, litserve, mlserver, kserve, ray)
}
