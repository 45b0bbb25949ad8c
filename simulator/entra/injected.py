"""What an injected fault makes Entra ID say, in the form of its own refusals. No HTTP."""

import re

from simulator.control.faults import UNNAMED, Fault
from simulator.entra.refusals import Refused, client_loop, tenant_throttled

# Refusals that come of nothing the caller did wrong in this request, by the fault's code.
_NAMED = {"AADSTS90055": tenant_throttled, "AADSTS50196": client_loop}
# What is said of itself by a fault that says nothing: that of a service in trouble, and that of a request refused.
_IN_TROUBLE = 90033, "A transient error has occurred. Please try again."
_NOT_ISSUED = 50000, "There was an error issuing a token."
_WRITTEN = re.compile(r"AADSTS(\d{1,9}): (.*)", re.DOTALL)


def injected(fault: Fault) -> Refused | None:
    """The refusal a fault stands for: one that its `code` names, or one written out in its `message`; else None.

    The fault's status and Retry-After hold in both cases; a message replaces the text of a named one.
    """
    written = _WRITTEN.fullmatch(fault.message)
    if (named := _NAMED.get(fault.code)) is not None:
        refused = named(fault.retry_after_s)
        refused.message = fault.message or refused.message
    elif written is not None:
        refused = Refused(400, fault.code, int(written[1]), written[2], retry_after_s=fault.retry_after_s)
    else:
        return None
    refused.status = fault.status or refused.status
    return refused


def injected_at_token_endpoint(fault: Fault) -> Refused:
    """The refusal of the token endpoint, which always has its members: without a message there is one that fits."""
    if (refused := injected(fault)) is not None:
        return refused
    status = fault.status or 503
    busy = status == 429 or status >= 500
    code, message = _IN_TROUBLE if busy else _NOT_ISSUED
    error = fault.code
    if error == UNNAMED:
        error = "temporarily_unavailable" if busy else "invalid_request"
    return Refused(status, error, code, fault.message or message, retry_after_s=fault.retry_after_s)
