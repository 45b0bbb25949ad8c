"""A group member that is killed by `test_bus_groups.py`: it reads, tells what it got, commits nothing.

`python -m tests.contract.crashing_member BOOTSTRAP SESSION_TIMEOUT_MS GROUP TOPIC` prints one line per message,
then it waits for its end.
"""

import asyncio
import sys

from devstack.kafka.given import GivenKafka
from tests.contract.bus import Bus


async def main(bootstrap: str, session_timeout_ms: str, group: str, topic: str) -> None:
    async with Bus(GivenKafka(bootstrap), int(session_timeout_ms)).member(group, topic) as member:
        async for record in member:
            sys.stdout.write(f"{record.offset}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
