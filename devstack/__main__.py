"""`python -m devstack up`: the stack in the foreground, until Ctrl-C.
Only the command line lives here."""

import asyncio
import signal
import sys
from typing import Annotated

import typer

from devstack.errors import DevstackError
from devstack.stack import Stack

INTERRUPTED_EXIT_CODE = 130

app = typer.Typer(add_completion=False, help="Kafka, PostgreSQL and a Microsoft 365 simulator on a bare machine.")


@app.callback()
def main() -> None:
    """Makes `up` a command of its own, beside those to come from elsewhere."""


@app.command()
def up(
    *,
    without_simulator: Annotated[bool, typer.Option("--without-simulator", help="Kafka and PostgreSQL only.")] = False,
) -> None:
    """Start the stack, print the environment to export, and keep it until Ctrl-C."""
    try:
        asyncio.run(serve(Stack(simulator=not without_simulator)))
    except DevstackError as error:
        print(f"devstack: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


async def serve(stack: Stack) -> None:
    """Run the stack until this task is cancelled: by Ctrl-C, or by SIGTERM."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with stack:
        for line in stack.describe():
            print(line, file=sys.stderr)
        for name, value in stack.environment().items():
            print(f"export {name}={value}")
        print("Ready. Ctrl-C ends it.", file=sys.stderr)
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    app(prog_name="python -m devstack")
