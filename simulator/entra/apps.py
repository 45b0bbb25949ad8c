"""Applications: what their maker registered, and what one tenant grants them. Values and state, no protocol."""

import hmac
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography import x509

from simulator.entra.permissions import SIGN_IN

_LOOPBACK = frozenset({"localhost", "127.0.0.1"})


@dataclass(frozen=True, slots=True)
class AppSecret:
    """A client secret. `expires_at_s` is seconds since 1970; None never expires."""

    value: str
    expires_at_s: float | None = None

    def matches(self, offered: str) -> bool:
        """Compares without telling by its duration how much was right."""
        return hmac.compare_digest(self.value.encode(), offered.encode())


@dataclass(frozen=True, slots=True)
class AppRegistration:
    """An application as its maker registered it, in its home tenant.

    `requested_roles` and `requested_scopes` are the application and delegated permissions that `/.default` and
    administrator consent stand for. An application without any credential is a public client.
    """

    client_id: str
    home_tenant: str
    name: str
    secrets: tuple[AppSecret, ...] = ()
    certificates: tuple[x509.Certificate, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    requested_roles: tuple[str, ...] = ()
    requested_scopes: tuple[str, ...] = ()
    multi_tenant: bool = False

    @property
    def is_public(self) -> bool:
        """True if it has nothing to prove itself with."""
        return not self.secrets and not self.certificates

    def allows_redirect(self, redirect_uri: str) -> bool:
        """Exactly as registered; on the loopback host the port may be any, as the protocol wants it."""
        return redirect_uri in self.redirect_uris or any(
            _same_but_port(known, redirect_uri) for known in self.redirect_uris
        )


def _same_but_port(known: str, given: str) -> bool:
    try:
        one, other = urlsplit(known), urlsplit(given)
    except ValueError:
        return False
    return (
        one.hostname in _LOOPBACK
        and (one.scheme, one.hostname, one.path, one.query) == (other.scheme, other.hostname, other.path, other.query)
        and not other.fragment
        and other.username is None
    )


@dataclass(frozen=True, slots=True)
class MailboxReach:
    """Which mailboxes Exchange opens to an application (lower-case names or ids), whatever its token shows.

    `granted` by RBAC for Applications with Calendars.ReadWrite, which adds to the roles of the token. `allowed` and
    `denied` are application access policies, which take away from them; `allowed` None restricts nothing.
    """

    granted: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    denied: frozenset[str] = frozenset()

    def grants(self, names: tuple[str, str]) -> bool:
        """Whether RBAC gives the mailbox with these names."""
        return not self.granted.isdisjoint(names)

    def blocks(self, names: tuple[str, str]) -> bool:
        """Whether a policy keeps the application out of the mailbox with these names."""
        return not self.denied.isdisjoint(names) or (self.allowed is not None and self.allowed.isdisjoint(names))


@dataclass(slots=True, eq=False)
class ServicePrincipal:
    """An application as one tenant knows it. Without consent it may be there and have nothing.

    `roles` go into app-only tokens. `scopes` are granted by an administrator for every user, `user_scopes` by users
    for themselves, by user id. `assigned` are lower-case names or ids. Times are seconds on the tenant's clock.
    """

    client_id: str
    object_id: str
    home_tenant: str
    roles: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    user_scopes: dict[str, frozenset[str]] = field(default_factory=dict)
    disabled: bool = False
    assignment_required: bool = False
    assigned: frozenset[str] = frozenset()
    tokens_valid_from_s: float = 0.0
    _reach: MailboxReach = field(default_factory=MailboxReach)
    _reach_before: MailboxReach = field(default_factory=MailboxReach)
    _reach_from_s: float = 0.0

    def granted_scopes(self, user_id: str) -> frozenset[str]:
        """The delegated permissions this user's tokens may show; any consent brings the sign-in scopes with it."""
        granted = self.scopes | self.user_scopes.get(user_id, frozenset())
        return granted | SIGN_IN if granted else granted

    def admits(self, names: tuple[str, str]) -> bool:
        """Whether the user with these names may use the application at all."""
        return not self.assignment_required or not self.assigned.isdisjoint(names)

    def reach(self, now: float) -> MailboxReach:
        """Which mailboxes Exchange opens at this moment."""
        return self._reach if now >= self._reach_from_s else self._reach_before

    def latest_reach(self) -> MailboxReach:
        """What was set last, whether it is in force yet or not."""
        return self._reach

    def set_reach(self, reach: MailboxReach, now: float, lag_s: float) -> None:
        """A new reach, in force after the lag: Exchange's caches answer with the old one until then."""
        if reach == self._reach:
            return
        self._reach_before, self._reach, self._reach_from_s = self.reach(now), reach, now + lag_s
