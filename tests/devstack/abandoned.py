"""A program that starts a stack and is then left to its fate; the tests of `test_stack_abandoned.py` kill it.

`python -m tests.devstack.abandoned FATE`: prints one JSON line with what the stack holds, then meets its fate:
`wait` for a signal, `raise` an exception, or `lose` PostgreSQL first and then wait.
"""

import asyncio
import json
import os
import signal
import sys

from devstack.stack import Stack
from tests.devstack.leftovers import family_of


def port_of(address: str) -> int:
    """The port at the end of `host:port`, with or without a path behind it."""
    return int(address.rpartition(":")[2].partition("/")[0])


async def main(fate: str) -> None:
    async with Stack() as stack:
        held = {
            "pids": sorted(family_of(os.getpid())),
            "ports": [port_of(stack.kafka.bootstrap), port_of(stack.postgres.dsn), port_of(stack.simulator.http_url)],
        }
        if fate == "lose":
            await stack.postgres.kill()
        sys.stdout.write(json.dumps(held) + "\n")
        sys.stdout.flush()
        if fate == "raise":
            raise RuntimeError("the fate of this program")
        await asyncio.Event().wait()


if __name__ == "__main__":
    # Where the tests run in the background of a shell, SIGINT is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(main(sys.argv[1]))
