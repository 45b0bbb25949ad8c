"""The container's health check says what the service's own readiness says."""

import asyncio
import os
import sys

from calbus.admin import Pulse, admin_server
from calbus.outage import Dependency
from calbus.settings import AdminSettings


async def ask(host: str, port: int | str) -> tuple[int | None, str]:
    environment = {**os.environ, "CALBUS_ADMIN_HOST": host, "CALBUS_ADMIN_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "calbus.probe", env=environment, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_it_is_ready_when_the_service_is() -> None:
    pulse, kafka = Pulse(), Dependency("kafka", lambda _: True)
    async with admin_server(AdminSettings(), "writer", pulse, [kafka]) as port:
        assert await ask("0.0.0.0", port) == (1, "starting\n")
        pulse.beat()
        assert await ask("0.0.0.0", port) == (0, "")
        kafka.up = False
        assert await ask("127.0.0.1", port) == (1, "waiting for kafka\n")
    code, said = await ask("127.0.0.1", port)
    assert code == 1
    assert f"nothing answers on the admin port {port}" in said


async def test_a_port_that_is_not_fixed_cannot_be_asked() -> None:
    assert await ask("0.0.0.0", 0) == (1, "CALBUS_ADMIN_PORT names no port to ask\n")
