"""What is measured, scenario by scenario. Each gives plain figures; how they are shown is report.py's business."""

import time

from bench.ground import Ground, Outcomes, Used, Writer
from calbus.store.entries import Due


async def backlog(ground: Ground, writer: Writer, outcomes: Outcomes, due: list[Due]) -> Used:
    """Have one writer work off wake-ups that all wait in Kafka when the clock starts; ends with the last outcome."""
    await ground.plan_again(due)
    writer.halt()
    try:
        await ground.wake(due)
        before = await outcomes.count()
        cpu_s, begin = writer.cpu_s, time.perf_counter()
    finally:
        writer.go_on()
    await outcomes.until(before + len(due))
    return Used(len(due), time.perf_counter() - begin, writer.cpu_s - cpu_s)


async def warm(ground: Ground, outcomes: Outcomes, due: list[Due]) -> None:
    """Wait until the writer has its mailboxes, its token and each mailbox's category."""
    before = await outcomes.count()
    await ground.wake(due)
    await outcomes.until(before + len(due))
