"""The command `python -m simulator`: arguments, event loop, signals. Everything else is `server`'s."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import orjson

from simulator.server import Settings, serve

# A full mailbox is millions of long-lived objects; collecting them again and again costs most of the speed.
_GC_THRESHOLDS = (50_000, 50, 1000)


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="python -m simulator", description="A Microsoft 365 to run against.")
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on; the admin interface has no lock")
    parser.add_argument("--https-port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--http-port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--state-dir", type=Path, help="keeps ca.pem and ca.key; default: a temporary directory")
    parser.add_argument("--seed-file", type=Path, help="JSON with the tenants to start with")
    parser.add_argument("--state-file", type=Path, help="loaded at the start if it is there, written at the end")
    parser.add_argument(
        "--trusted-ca-file",
        type=Path,
        action="append",
        default=[],
        help="PEM; endpoints of subscriptions may have its certificates; may be repeated",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="host name under which others reach it, for its certificate; may be repeated",
    )
    given = parser.parse_args()
    return Settings(
        host=given.host,
        https_port=given.https_port,
        http_port=given.http_port,
        state_dir=given.state_dir,
        seed_file=given.seed_file,
        state_file=given.state_file,
        trusted_ca_files=tuple(given.trusted_ca_file),
        names=tuple(given.name),
    )


async def _run(settings: Settings) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with serve(settings) as addresses:
        sys.stdout.write(orjson.dumps(addresses).decode() + "\n")
        sys.stdout.flush()
        await ended.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def main() -> int:
    """Runs until SIGTERM or SIGINT. Exit status 2: a file or an address cannot be used."""
    settings = _settings()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(settings))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
