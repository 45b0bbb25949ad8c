"""What Entra ID has given out and remembers: browser sessions, authorization codes, refresh tokens. State only.

Each kind is bounded; the oldest is forgotten first. Times are seconds on the clock of the grant's tenant.
"""

import secrets
from dataclasses import dataclass, field
from typing import TypeVar

HELD_MAX = 20_000

T = TypeVar("T", "Session", "Code", "RefreshToken")


@dataclass(slots=True, eq=False)
class Session:
    """A browser in which somebody signed in. `canary` shows that a form came from one of our own pages."""

    tenant_id: str
    user_id: str
    signed_in_at_s: float
    canary: str
    second_factor: bool = False


@dataclass(slots=True, eq=False)
class Code:
    """An authorization code. `challenge` is that of PKCE with its method, `scopes` what tokens may show."""

    tenant_id: str
    user_id: str
    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    nonce: str | None
    challenge: tuple[str, str] | None
    issued_at_s: float
    second_factor: bool
    redeemed: bool = False


@dataclass(slots=True, eq=False)
class RefreshToken:
    """A refresh token. `signed_in_at_s` is when a person was there, `uses` how often it was redeemed."""

    tenant_id: str
    user_id: str
    client_id: str
    scopes: frozenset[str]
    signed_in_at_s: float
    issued_at_s: float
    second_factor: bool
    uses: int = 0


@dataclass(slots=True)
class Grants:
    """All that is out there, by its unguessable value."""

    sessions: dict[str, Session] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    refresh_tokens: dict[str, RefreshToken] = field(default_factory=dict)

    def open_session(self, tenant_id: str, user_id: str, now: float) -> str:
        """The value of a new session's cookie."""
        return _keep(self.sessions, Session(tenant_id, user_id, now, secrets.token_urlsafe(16)))

    def give_code(self, code: Code) -> str:
        """The code as it goes to the application."""
        return _keep(self.codes, code)

    def give_refresh_token(self, token: RefreshToken) -> str:
        """The refresh token as it goes to the application."""
        return _keep(self.refresh_tokens, token)

    def forget_tenant(self, tenant_id: str) -> None:
        """Ends everything that was given out in a tenant."""
        self.sessions = {key: held for key, held in self.sessions.items() if held.tenant_id != tenant_id}
        self.codes = {key: held for key, held in self.codes.items() if held.tenant_id != tenant_id}
        self.refresh_tokens = {key: held for key, held in self.refresh_tokens.items() if held.tenant_id != tenant_id}

    def clear(self) -> None:
        """Ends everything."""
        self.sessions.clear()
        self.codes.clear()
        self.refresh_tokens.clear()


def _keep(shelf: dict[str, T], held: T) -> str:
    if len(shelf) >= HELD_MAX:
        del shelf[next(iter(shelf))]
    value = f"1.{secrets.token_urlsafe(48)}"
    shelf[value] = held
    return value
