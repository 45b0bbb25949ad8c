"""A user's account in Entra ID: what happens when its owner signs in. Values only."""

from dataclasses import dataclass
from enum import StrEnum

from simulator.entra.refusals import (
    Refused,
    blocked_by_conditional_access,
    password_expired,
    second_factor_required,
    user_disabled,
    user_locked,
)


class SignIn(StrEnum):
    """What signing in leads to."""

    OK = "ok"
    DISABLED = "disabled"
    PASSWORD_EXPIRED = "password_expired"  # noqa: S105 - a state, not a password
    LOCKED = "locked"
    MFA_REQUIRED = "mfa_required"
    BLOCKED_BY_CONDITIONAL_ACCESS = "blocked_by_conditional_access"


_REFUSALS = {
    SignIn.DISABLED: user_disabled,
    SignIn.PASSWORD_EXPIRED: password_expired,
    SignIn.LOCKED: user_locked,
    SignIn.BLOCKED_BY_CONDITIONAL_ACCESS: blocked_by_conditional_access,
}


@dataclass(slots=True)
class Account:
    """`password` None accepts any. Sessions and refresh tokens from before `sessions_valid_from_s` are revoked."""

    administrator: bool = False
    password: str | None = None
    sign_in: SignIn = SignIn.OK
    sessions_valid_from_s: float = 0.0

    def refusal(self) -> Refused | None:
        """Why nobody can sign in with this account; None if its owner can, perhaps with a second factor."""
        make = _REFUSALS.get(self.sign_in)
        return make() if make else None

    def refusal_without_person(self, *, second_factor: bool) -> Refused | None:
        """The same where nobody is there to show a second factor; `second_factor` says that it was shown before."""
        if self.sign_in is SignIn.MFA_REQUIRED and not second_factor:
            return second_factor_required()
        return self.refusal()
