"""A user's account in Entra ID: what happens when its owner signs in. Values only."""

from dataclasses import dataclass
from enum import StrEnum

from simulator.entra.refusals import (
    Refused,
    app_not_approved,
    blocked_by_conditional_access,
    device_not_compliant,
    device_not_joined,
    enrolment_required,
    external_challenge_required,
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
    MFA_ENROLMENT_REQUIRED = "mfa_enrolment_required"
    EXTERNAL_CHALLENGE_REQUIRED = "external_challenge_required"
    DEVICE_NOT_COMPLIANT = "device_not_compliant"
    DEVICE_NOT_JOINED = "device_not_joined"
    APP_NOT_APPROVED = "app_not_approved"
    BLOCKED_BY_CONDITIONAL_ACCESS = "blocked_by_conditional_access"


_REFUSALS = {
    SignIn.DISABLED: user_disabled,
    SignIn.PASSWORD_EXPIRED: password_expired,
    SignIn.LOCKED: user_locked,
}
# Policies, which are asked once it is known who it is.
_BLOCKED_BY_POLICY = {
    SignIn.DEVICE_NOT_COMPLIANT: device_not_compliant,
    SignIn.DEVICE_NOT_JOINED: device_not_joined,
    SignIn.APP_NOT_APPROVED: app_not_approved,
    SignIn.BLOCKED_BY_CONDITIONAL_ACCESS: blocked_by_conditional_access,
}
# What the owner can do something about, on a page.
_MORE_REQUIRED = {
    SignIn.MFA_REQUIRED: second_factor_required,
    SignIn.MFA_ENROLMENT_REQUIRED: enrolment_required,
    SignIn.EXTERNAL_CHALLENGE_REQUIRED: external_challenge_required,
}


@dataclass(slots=True)
class Account:
    """`password` None accepts any. Sessions and refresh tokens from before `sessions_valid_from_s` are revoked."""

    administrator: bool = False
    password: str | None = None
    sign_in: SignIn = SignIn.OK
    sessions_valid_from_s: float = 0.0

    def refusal_before_password(self) -> Refused | None:
        """Why the account cannot be used at all, whoever it is that tries."""
        make = _REFUSALS.get(self.sign_in)
        return make() if make else None

    def refusal(self) -> Refused | None:
        """Why nobody can sign in with this account; None if its owner can, perhaps after doing more."""
        make = _BLOCKED_BY_POLICY.get(self.sign_in)
        return make() if make else self.refusal_before_password()

    def more_required(self, *, second_factor: bool) -> Refused | None:
        """What its owner has to do yet, on a page; `second_factor` says that this was done."""
        make = _MORE_REQUIRED.get(self.sign_in)
        return make() if make and not second_factor else None

    def refusal_without_person(self, *, second_factor: bool) -> Refused | None:
        """Why no token can be had where nobody is there to do more."""
        return self.more_required(second_factor=second_factor) or self.refusal()

    def did_more(self) -> None:
        """Its owner did what was required. Who is enrolled is asked for the second factor from then on."""
        if self.sign_in is SignIn.MFA_ENROLMENT_REQUIRED:
            self.sign_in = SignIn.MFA_REQUIRED
