"""Asks the service beside it whether it is ready: `python -m calbus.probe`, a container's health check.

Only the standard library is imported: this starts every few seconds. Kubernetes asks the admin port itself instead.
"""

import http.client
import os
import sys
from collections.abc import Mapping

TIMEOUT_S = 4.0
# Where a service that listens on all interfaces is asked.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def ready(environment: Mapping[str, str]) -> str | None:
    """None if the service on CALBUS_ADMIN_HOST and CALBUS_ADMIN_PORT says that it is ready; else why not."""
    host = environment.get("CALBUS_ADMIN_HOST", "")
    port = environment.get("CALBUS_ADMIN_PORT", "0")
    if not port.isdecimal() or int(port) == 0:
        return "CALBUS_ADMIN_PORT names no port to ask"
    connection = http.client.HTTPConnection(_LOOPBACK.get(host, host), int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"nothing answers on the admin port {port}: {error}"
    finally:
        connection.close()
    return None if answer.status == http.client.OK else said


def main() -> int:
    """0 if it is ready, 1 if not; says why not."""
    problem = ready(os.environ)
    if problem is not None:
        sys.stdout.write(f"{problem}\n")
    return int(problem is not None)


if __name__ == "__main__":
    sys.exit(main())
