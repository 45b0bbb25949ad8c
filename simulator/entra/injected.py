"""What an injected fault makes Entra ID say, in the form of its own refusals. No HTTP."""

import re

from simulator.control.faults import Fault
from simulator.entra.refusals import Refused, client_loop, tenant_throttled

# Refusals that come of nothing the caller did wrong in this request, by the fault's code.
_NAMED = {"AADSTS90055": tenant_throttled, "AADSTS50196": client_loop}
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
