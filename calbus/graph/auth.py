"""App-only access tokens by MSAL, one application object per directory, off the event loop.

A token is fetched once however many calls wait for it; so is a refusal, which is remembered for a while.
"""

import asyncio
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msal
import orjson
import requests

from calbus.graph.credential import Credential
from calbus.graph.errors import Fault, Scope, token_fault
from calbus.settings import GraphSettings
from calbus.telemetry import DIRECTORIES, TOKEN_EXPIRY_SECONDS
from schemas.reasons import Reason

DIRECTORIES_MAX = 10_000
TOKEN_THREADS = 4
TOKEN_TIMEOUT_S = 15
# MSAL gives up a token five minutes before its end; ours is asked for again well before.
TOKEN_MARGIN_S = 360
TOKEN_LAST_S = 60
PASSING_REMEMBERED_S = 1.0


@dataclass(slots=True)
class _Directory:
    application: Any = None
    credential: Any = None
    token: str = ""
    fetched_at: float = 0.0
    valid_until: float = 0.0
    ends_at: float = 0.0
    bears_roles: bool | None = None
    refusal: Fault | None = None
    refusal_until: float = 0.0


class TokenRefusedError(Exception):
    """Entra ID did not issue a token; `fault` says why and whose move it is."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


class _Session(requests.Session):
    """Trusts the given authority whatever the environment says: REQUESTS_CA_BUNDLE would win over a session's own."""

    def __init__(self, ca_file: Path | None) -> None:
        super().__init__()
        self._ca_file = ca_file

    def request(self, method: str, url: str, *args: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        if self._ca_file is not None:
            options["verify"] = str(self._ca_file)
        options.setdefault("timeout", TOKEN_TIMEOUT_S)
        return super().request(method, url, *args, **options)


class Tokens:
    """Access tokens for Microsoft Graph, by directory."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._credential = Credential(settings)
        self._directories: OrderedDict[str, _Directory] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self._threads = ThreadPoolExecutor(TOKEN_THREADS, thread_name_prefix="msal")

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, directory: str) -> str:
        """A token that is valid for minutes to come. Raises TokenRefusedError."""
        held = self._held(directory)
        if held.token and time.monotonic() < held.valid_until:
            return held.token
        async with self._locks.setdefault(directory, asyncio.Lock()):
            now = time.monotonic()
            if held.token and now < held.valid_until:
                return held.token
            if held.refusal is not None and now < held.refusal_until:
                raise TokenRefusedError(held.refusal)
            try:
                answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, directory, held)
            except TokenRefusedError as error:
                passing = error.fault.reason is Reason.ENTRA_UNAVAILABLE
                if passing and held.token and time.monotonic() < held.valid_until + TOKEN_MARGIN_S - TOKEN_LAST_S:
                    return held.token  # it still lasts for a minute or more
                remembered_s = min(PASSING_REMEMBERED_S if passing else self._settings.graph_token_doubt_s, 3_600)
                held.refusal, held.refusal_until = error.fault, time.monotonic() + remembered_s
                raise
            held.refusal = None
            held.token, held.fetched_at = answer["access_token"], time.monotonic()
            held.bears_roles = _bears_roles(held.token)
            held.ends_at = time.monotonic() + int(answer["expires_in"])
            held.valid_until = max(held.ends_at - TOKEN_MARGIN_S, time.monotonic() + 1)
            return held.token

    def reject(self, directory: str, token: str) -> None:
        """Graph did not accept this token: the next call fetches another."""
        held = self._directories.get(directory)
        if held is not None and held.token == token:
            # The application object keeps the token in its cache; a new one has none.
            self._directories.pop(directory, None)

    def doubt(self, directory: str, token: str) -> bool:
        """Graph denied access with this token: after a while another is fetched, since only a new one shows consent.

        True if the next call fetches one, or has another already.
        """
        held = self._directories.get(directory)
        if held is not None and held.token == token:
            if time.monotonic() - held.fetched_at <= self._settings.graph_token_doubt_s:
                return False
            self.reject(directory, token)
        return True

    def bears_roles(self, directory: str) -> bool | None:
        """Whether the token held for this directory names application permissions; None if that cannot be told.

        Consent that is withdrawn shows here only: Entra goes on issuing tokens, which bear no role (graph-facts 6.1).
        """
        held = self._directories.get(directory)
        return None if held is None or not held.token else held.bears_roles

    def show(self) -> None:
        """Set the gauges."""
        now = time.monotonic()
        counts = {"valid": 0, "expired": 0, "refused": 0}
        left_s = []
        for held in self._directories.values():
            if held.refusal is not None:
                counts["refused"] += 1
            elif held.token and held.ends_at > now:
                counts["valid"] += 1
                left_s.append(held.ends_at - now)
            elif held.token:
                counts["expired"] += 1
        for state, number in counts.items():
            DIRECTORIES.labels(state).set(number)
        TOKEN_EXPIRY_SECONDS.set(min(left_s, default=0.0))

    def _held(self, directory: str) -> _Directory:
        held = self._directories.get(directory)
        if held is None:
            held = self._directories[directory] = _Directory()
            if len(self._directories) > DIRECTORIES_MAX:
                gone, _ = self._directories.popitem(last=False)
                self._locks.pop(gone, None)
        self._directories.move_to_end(directory)
        return held

    def _fetch(self, directory: str, held: _Directory) -> dict[str, Any]:
        credential = self._credential.current()
        try:
            if held.application is None or held.credential is not credential:
                held.credential = credential
                held.application = msal.ConfidentialClientApplication(
                    self._settings.client_id,
                    authority=f"{self._settings.login_url}/{directory}",
                    client_credential=credential,
                    # Microsoft's discovery does not know every address: a simulator's, a new cloud's.
                    instance_discovery=False,
                    http_client=_Session(self._settings.graph_ca_file),
                )
            answer: dict[str, Any] = held.application.acquire_token_for_client([self._settings.graph_scope])
        except ValueError:
            # MSAL says so when the directory's configuration is not found.
            raise TokenRefusedError(Fault(Reason.DIRECTORY_UNKNOWN, Scope.DIRECTORY)) from None
        except Exception as error:  # noqa: BLE001 (whatever it is, it says nothing about the directory)
            fault = Fault(Reason.ENTRA_UNAVAILABLE, Scope.DIRECTORY, code=type(error).__name__)
            raise TokenRefusedError(fault) from None
        if "access_token" not in answer:
            held.application = None  # its memory would replay the refusal for a minute
            raise TokenRefusedError(token_fault(answer))
        return answer


def _bears_roles(token: str) -> bool | None:
    """Read, not trusted: what a token may do is for Graph to say. One that is no JWT says nothing."""
    try:
        _, payload, _ = token.split(".")
        claims = orjson.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return None
    return bool(claims.get("roles")) if isinstance(claims, dict) else None
