"""The data plane: one worker process takes calls from clients and brings them to containers, by a table in memory.

From the socket inwards: `worker` is the process, `gateway` what its connections share, `connection` one client,
`invocation` one call through the containers it is for (`streaming` is the one that answers in event-stream frames),
`forward` one request for the control plane, `upstream` the connections to containers and to control. `routes` answers
"where to" and `channel` keeps its table current. The hot path is callbacks only: no task, no lock, no `await`.
"""
