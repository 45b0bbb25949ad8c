"""The thread from an event on the bus to what Microsoft is asked because of it. Pure.

A correlation is made from the event's `source` and `id` alone, so that whoever has either end finds the other:

    printf '%s\\n%s' SOURCE ID | sha256sum | cut -c1-16

Log lines bear it, and every `client-request-id` that is sent for the event begins with it. The rest of a request's id
is its own: Microsoft wants each request to have one.
"""

from hashlib import sha256
from random import getrandbits


def correlation_of(source: str, event_id: str) -> str:
    """16 hexadecimal digits that name the event."""
    return sha256(f"{source}\n{event_id}".encode()).hexdigest()[:16]


def client_request_id(correlation: str | None) -> str:
    """A new id in the form of a UUID, which begins with the correlation if there is one."""
    own = f"{getrandbits(128):032x}"  # unique, which is all that is asked of it: nobody gains by guessing it
    if correlation is None:
        return f"{own[:8]}-{own[8:12]}-{own[12:16]}-{own[16:20]}-{own[20:]}"
    return f"{correlation[:8]}-{correlation[8:12]}-{correlation[12:16]}-{own[16:20]}-{own[20:]}"
