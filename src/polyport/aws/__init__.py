"""AWS's wire format, pure: values in, values out; no sockets, no store, nothing but botocore's models as the authority.

A control-plane request passes through this room like this (`polyport.api.app` is the caller)::

    head = wire.head_of(method, path, query, raw_headers)
    call = dispatch.identify(head, body)                          # which service, protocol, operation; never raises
    try:
        owner = dispatch.owner_of(head, account, region)          # whose resources
        function, operation = operations.find(call)               # the table of the service, and the service's model
        protocol = protocols.of(call, head)                       # its way in and its way out
        if not (function and operation and protocol):
            raise dispatch.refusal(call, served)
        request = protocol.parse(operation, head, body)           # types, unknown members
        validate.validate(operation, request)                     # every constraint of the model, in one message
        answer = await function(context, request)                 # the operation itself, dict in, dict out
        response = protocol.render(operation, answer, request_id, call)
    except ApiError as error:
        response = faults.render_fault(error, call, request_id)

Who makes a call is in `claims` (what a request says of its signature), `sigv4` (whether that is true) and `denials`
(how a caller is told no); the docstring of `sigv4` shows the steps.

Dicts use the model's member names (``ModelName``). In them timestamps are epoch seconds (`float`), blobs `bytes`,
lists and maps `list` and `dict`; an absent or null member is absent.
"""
