"""The Microsoft 365 simulator as a part of the stack: started as a program and known by the one line it prints.
Nothing of what it simulates lives here."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from devstack.engine import StartedEngine
from devstack.guarded import Command, Guarded


class Simulator(StartedEngine):
    """`python -m simulator`, with its state in the run directory.

    `stop` and `start` keep its state as far as the simulator itself does; its addresses may change.
    """

    title = "The Microsoft 365 simulator"

    def __init__(self, guarded: Guarded) -> None:
        super().__init__(guarded, "simulator")
        self.graph_url = ""
        self.login_url = ""
        self.http_url = ""
        self.ca_file = ""

    def describe(self) -> tuple[str, str, str]:
        """See `Engine.describe`."""
        return "Microsoft 365", "simulator", self.http_url

    async def start(self) -> None:
        """See `Engine.start`."""
        self._said.unlink(missing_ok=True)
        await super().start()

    async def _prepare(self) -> None:
        (self.directory / "state").mkdir()

    def _command(self) -> Command:
        return Command(
            argv=[sys.executable, "-m", "simulator", "--state-dir", str(self.directory / "state")],
            stdout=str(self._said),
            stderr=str(self.directory / "server.log"),
        )

    async def _answers(self) -> bool:
        """It prints its line once it serves."""
        said = self._said.read_text() if self._said.is_file() else ""
        if "\n" not in said:
            return False
        addresses = json.loads(said.partition("\n")[0])
        self.graph_url = addresses["graph_url"]
        self.login_url = addresses["login_url"]
        self.http_url = addresses["http_url"]
        self.ca_file = addresses["ca_file"]
        return True

    @property
    def _said(self) -> Path:
        return self.directory / "said"

    @property
    def _logs(self) -> Sequence[Path]:
        return (self.directory / "server.log",)
