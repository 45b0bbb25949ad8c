"""HTTP from the service to applications: posting notifications, and the validation of an address."""

import asyncio
import ssl
import time
import urllib.parse
import uuid
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from simulator.notifications.deliveries import Fate

_CONNECTIONS_MAX = 64
_ANSWER_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a POST: never an exception. `status` is None where no answer came in time."""

    fate: Fate
    status: int | None
    took_ms: float
    content_type: str = ""
    body: bytes = b""


class Sender:
    """Sends for all tenants. It trusts the machine's certificate authorities and those it was told of.

    It follows no redirects, keeps no cookies, and reads at most 64 KB of an answer.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._authorities: list[Path] = []

    def trust(self, ca_file: Path) -> None:
        """Accepts certificates of this authority, in PEM, from the first POST on.

        Raises OSError if the file cannot be read or holds no certificate.
        """
        ssl.create_default_context(cafile=str(ca_file))
        self._authorities.append(ca_file)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context()
            for ca_file in self._authorities:
                context.load_verify_locations(ca_file)
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, ssl=context)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def post(self, url: str, content: bytes, content_type: str, timeout_ms: float) -> Result:
        """Posts once."""
        began = time.monotonic()

        def took_ms() -> float:
            return (time.monotonic() - began) * 1000

        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await self._exchange(url, content, content_type, began)
        except TimeoutError:
            return Result(Fate.TIMED_OUT, None, took_ms())
        except (aiohttp.ClientError, OSError, ValueError):
            return Result(Fate.UNREACHABLE, None, took_ms())

    async def _exchange(self, url: str, content: bytes, content_type: str, began: float) -> Result:
        headers = {"Content-Type": content_type}
        target = URL(url, encoded=True)
        async with self._open().post(target, data=content, headers=headers, allow_redirects=False) as answer:
            body = await answer.content.read(_ANSWER_MAX_BYTES)
            fate = Fate.DELIVERED if 200 <= answer.status < 300 else Fate.REFUSED
            took_ms = (time.monotonic() - began) * 1000
            return Result(fate, answer.status, took_ms, answer.headers.get("Content-Type", ""), body)

    async def validate(self, url: str, timeout_ms: float) -> Result:
        """Asks an address whether it wants notifications: it must answer 200 with the token as plain text.

        An answer that is not that is REFUSED, whatever its status.
        """
        token = f"Validation: Testing client application reachability for subscription Request-Id: {uuid.uuid4()}"
        mark = "&" if "?" in url else "?"
        asked = f"{url}{mark}validationToken={urllib.parse.quote(token, safe='')}"
        result = await self.post(asked, b"", "text/plain; charset=utf-8", timeout_ms)
        right = (
            result.status == 200
            and result.content_type.partition(";")[0].strip().lower() == "text/plain"
            and result.body == token.encode()
        )
        if result.fate is Fate.DELIVERED and not right:
            return Result(Fate.REFUSED, result.status, result.took_ms)
        return result

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
