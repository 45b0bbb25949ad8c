"""Choosing TCP ports for engines. Nothing else lives here."""

import contextlib
import secrets
import socket

# Below the range from which systems take local ports for outgoing connections: between a kill and a restart of an
# engine nobody else, and no client that tries to reach it, can be given its port.
FIRST_PORT = 15_000
LAST_PORT = 29_999
ATTEMPTS = 200

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now.

    From the system's randomness: tests seed the `random` module, and two stacks would choose alike.
    """
    for _ in range(ATTEMPTS):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((LOOPBACK, port))
            return port
    raise OSError(f"no free TCP port found between {FIRST_PORT} and {LAST_PORT} in {ATTEMPTS} attempts")
