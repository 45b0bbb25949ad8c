"""Every refusal of Entra ID, as one exception with its AADSTS code and the text administrators search for.

Source: Microsoft docs "reference-error-codes", "v2-oauth2-auth-code-flow"; statuses as public issue threads show them.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

_INVALID_GRANT = "invalid_grant"


class Refused(Exception):  # noqa: N818 - the protocol calls it a refusal
    """An OAuth error with its AADSTS code. `status` is that of the token endpoint, or of the page that shows it.

    `retry_after_s` goes out as a Retry-After.
    """

    def __init__(
        self,
        status: int,
        error: str,
        code: int,
        message: str,
        *,
        suberror: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.code = code
        self.message = message
        self.suberror = suberror
        self.retry_after_s = retry_after_s

    def body(self, correlation_id: str) -> dict[str, Any]:
        """The error document of the token endpoint."""
        trace_id = str(uuid.uuid4())
        timestamp = _timestamp()
        document = {
            "error": self.error,
            "error_description": self._description(trace_id, correlation_id, timestamp),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"https://login.microsoftonline.com/error?code={self.code}",
        }
        return document if self.suberror is None else {**document, "suberror": self.suberror}

    def callback(self) -> dict[str, str]:
        """The parameters of a redirect that reports it to the application."""
        parameters = {
            "error": self.error,
            "error_description": self._description(str(uuid.uuid4()), str(uuid.uuid4()), _timestamp()),
            "error_uri": f"https://login.microsoftonline.com/error?code={self.code}",
        }
        return parameters if self.suberror is None else {**parameters, "suberror": self.suberror}

    def _description(self, trace_id: str, correlation_id: str, timestamp: str) -> str:
        return (
            f"AADSTS{self.code}: {self.message}\r\nTrace ID: {trace_id}\r\n"
            f"Correlation ID: {correlation_id}\r\nTimestamp: {timestamp}"
        )


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")


# The application and the request.


def missing_parameter(name: str) -> Refused:
    """A parameter that has to be there is not."""
    return Refused(400, "invalid_request", 900144, f"The request body must contain the following parameter: '{name}'.")


def invalid_parameter(name: str) -> Refused:
    """A parameter has a value that cannot be used."""
    return Refused(400, "invalid_request", 90023, f"The value of the parameter '{name}' is not supported.")


def unsupported_response_type(value: str) -> Refused:
    """Only the authorization code is given out."""
    return Refused(
        400, "unsupported_response_type", 700054, f"response_type '{value}' is not enabled for the application."
    )


def unsupported_grant_type(value: str) -> Refused:
    """The token endpoint does not know this grant."""
    return Refused(400, "unsupported_grant_type", 70003, f"The app requested an unsupported grant type '{value}'.")


def unknown_tenant(name: str) -> Refused:
    """No tenant has this id or domain."""
    return Refused(
        400,
        "invalid_request",
        90002,
        f"Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant.",
    )


def no_tenant_named() -> Refused:
    """`common` or `organizations` where a tenant has to be named."""
    return Refused(
        400,
        "invalid_request",
        90019,
        "No tenant-identifying information found in either the request or implied by any provided credentials.",
    )


def unknown_app(client_id: str, tenant: str) -> Refused:
    """The tenant has no such application: a wrong id, a wrong tenant, or nobody consented yet."""
    return Refused(
        400,
        "unauthorized_client",
        700016,
        f"Application with identifier '{client_id}' was not found in the directory '{tenant}'. This can "
        "happen if the application has not been installed by the administrator of the tenant or consented "
        "to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
    )


def app_disabled(client_id: str) -> Refused:
    """An administrator has disabled the application in this tenant."""
    return Refused(400, "unauthorized_client", 7000112, f"The application '{client_id}' is disabled.")


def single_tenant(client_id: str, name: str) -> Refused:
    """An application of one tenant was used at `common` or `organizations`, or in another tenant."""
    return Refused(
        400,
        "invalid_request",
        50194,
        f"Application '{client_id}'({name}) is not configured as a multi-tenant application. Usage of the /common "
        "endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific endpoint or "
        "configure the application to be multi-tenant.",
    )


def redirect_mismatch(redirect_uri: str, client_id: str) -> Refused:
    """Nothing is ever sent to an address that is not registered."""
    return Refused(
        400,
        "invalid_request",
        50011,
        f"The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs configured "
        f"for the application '{client_id}'. Make sure the redirect URI sent in the request matches one added to "
        "your application in the Azure portal.",
    )


def bad_scope(scope: str | None) -> Refused:
    """A scope that does not exist, or a mixture that is not allowed."""
    return Refused(
        400,
        "invalid_scope",
        70011,
        "The provided request must include a 'scope' input parameter. The provided value for the input "
        f"parameter 'scope' is not valid. The scope {scope} is not valid.",
    )


# The application's credential.


def wrong_secret(client_id: str) -> Refused:
    """Often the id of the secret was pasted in place of its value."""
    return Refused(
        401,
        "invalid_client",
        7000215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
        f"value, not the client secret ID, for a secret added to app '{client_id}'.",
    )


def expired_secret(client_id: str) -> Refused:
    """The secret was right once."""
    return Refused(
        401,
        "invalid_client",
        7000222,
        f"The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to "
        "create new keys for your app, or consider using certificate credentials for added security.",
    )


def bad_assertion(problem: str) -> Refused:
    """The assertion does not show that the caller is the application."""
    return Refused(
        401,
        "invalid_client",
        700027,
        f"Client assertion failed signature validation or is not acceptable. {problem}",
    )


def no_credential() -> Refused:
    """A confidential client sent neither a secret nor an assertion."""
    return Refused(
        401,
        "invalid_client",
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    )


# The person who signs in.


def unknown_user(name: str, tenant: str) -> Refused:
    """Nobody has this name."""
    return Refused(
        400,
        _INVALID_GRANT,
        50034,
        f"The user account {name} does not exist in the {tenant} directory. To sign into this application, the "
        "account must be added to the directory.",
    )


def foreign_user(name: str, home: str, tenant: str, client_id: str) -> Refused:
    """A user of another tenant."""
    return Refused(
        400,
        _INVALID_GRANT,
        50020,
        f"User account '{name}' from identity provider 'https://sts.windows.net/{home}/' does not exist in tenant "
        f"'{tenant}' and cannot access the application '{client_id}' in that tenant. The account needs to be added "
        "as an external user in the tenant first. Sign out and sign in again with a different Azure Active "
        "Directory user account.",
    )


def wrong_password() -> Refused:
    """The user exists, the password is another."""
    return Refused(400, _INVALID_GRANT, 50126, "Error validating credentials due to invalid username or password.")


def user_locked() -> Refused:
    """Too many wrong passwords."""
    return Refused(
        400,
        _INVALID_GRANT,
        50053,
        "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.",
    )


def password_expired() -> Refused:
    """The user has to choose a new password first."""
    return Refused(400, _INVALID_GRANT, 50055, "The password is expired.")


def user_disabled() -> Refused:
    """An administrator has blocked sign-in."""
    return Refused(400, _INVALID_GRANT, 50057, "The user account is disabled.")


def nobody_signed_in() -> Refused:
    """prompt=none without a session."""
    return Refused(400, "interaction_required", 50058, "A silent sign-in request was sent but no user is signed in.")


def second_factor_required() -> Refused:
    """The session or refresh token was made without multi-factor authentication, which is now asked for."""
    return Refused(
        400,
        "interaction_required",
        50076,
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must "
        "use multi-factor authentication to access '00000003-0000-0000-c000-000000000000'.",
        suberror="basic_action",
    )


def enrolment_required() -> Refused:
    """The user has to register for multi-factor authentication first."""
    return Refused(
        400,
        "interaction_required",
        50079,
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must "
        "enroll in multi-factor authentication to access '00000003-0000-0000-c000-000000000000'.",
        suberror="basic_action",
    )


def external_challenge_required() -> Refused:
    """A policy sends the user to another provider, which has not vouched for them yet."""
    return Refused(
        400,
        "interaction_required",
        50158,
        "External security challenge not satisfied. User will be redirected to another page or authentication "
        "provider to satisfy additional authentication challenges.",
        suberror="basic_action",
    )


def device_not_compliant() -> Refused:
    """A policy asks for a device that its management calls healthy."""
    return Refused(
        400,
        "interaction_required",
        53000,
        "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, "
        "and the device is not compliant. The user must enroll their device with an approved MDM provider like Intune.",
        suberror="message_only",
    )


def device_not_joined() -> Refused:
    """A policy asks for a device of the organisation's domain."""
    return Refused(
        400,
        "interaction_required",
        53001,
        "Device is not in required device state: domain_joined. Conditional Access policy requires a domain joined "
        "device, and the device is not domain joined.",
        suberror="message_only",
    )


def app_not_approved() -> Refused:
    """A policy asks for one of the applications on a list."""
    return Refused(
        400,
        "interaction_required",
        53002,
        "The app used is not an approved app for Conditional Access. User needs to use one of the apps from the list "
        "of approved apps to use in order to get access.",
        suberror="message_only",
    )


def blocked_by_conditional_access() -> Refused:
    """A policy does not let this user in."""
    return Refused(
        400,
        "interaction_required",
        53003,
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
        suberror="message_only",
    )


def not_assigned(user: str, client_id: str, name: str) -> Refused:
    """The application is for assigned users only."""
    return Refused(
        400,
        "interaction_required",
        50105,
        f"Your administrator has configured the application {name} ('{client_id}') to block users unless they are "
        f"specifically granted ('assigned') access to the application. The signed-in user '{user}' is blocked "
        "because they are not a direct member of a group with access, nor had access directly assigned by an "
        "administrator. Please contact your administrator to assign access to this application.",
    )


# Consent.


def not_consented(client_id: str, name: str) -> Refused:
    """Nobody has granted what is asked for."""
    return Refused(
        400,
        _INVALID_GRANT,
        65001,
        f"The user or administrator has not consented to use the application with ID '{client_id}' named '{name}'. "
        "Send an interactive authorization request for this user and resource.",
        suberror="consent_required",
    )


def consent_declined() -> Refused:
    """The person looked at the permissions and said no."""
    return Refused(400, "access_denied", 65004, "User declined to consent to access the app.")


def approval_required(name: str) -> Refused:
    """Only an administrator can grant what is asked for."""
    return Refused(
        400,
        "access_denied",
        90094,
        f"{name} needs permission to access resources in your organization that only an admin can grant. Please ask "
        "an admin to grant permission to this app before you can use it.",
    )


def approval_can_be_requested(name: str) -> Refused:
    """As 90094, where the tenant lets users ask for it."""
    return Refused(
        400,
        "access_denied",
        90095,
        f"Admin consent is required. {name} needs permission that only an admin can grant; you can request approval.",
    )


# Codes and refresh tokens.


def unreadable_grant(parameter: str) -> Refused:
    """A code or refresh token that was never given out, or to somebody else."""
    return Refused(
        400, _INVALID_GRANT, 70000, f"The provided value for the input parameter '{parameter}' is not valid."
    )


def expired_code() -> Refused:
    """A code lives about ten minutes."""
    return Refused(
        400,
        _INVALID_GRANT,
        70008,
        "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive "
        "authorization request for this user and resource.",
    )


def code_used() -> Refused:
    """A code is redeemed once."""
    return Refused(
        400,
        _INVALID_GRANT,
        54005,
        "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing "
        "refresh token.",
    )


def wrong_verifier() -> Refused:
    """PKCE: whoever redeems the code is not who asked for it."""
    return Refused(
        400,
        _INVALID_GRANT,
        501481,
        "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
    )


def grant_revoked(issued_at_s: float, valid_from_s: float) -> Refused:
    """The user's sessions were revoked after the grant was made, or the grant was used up."""
    return Refused(
        400,
        _INVALID_GRANT,
        50173,
        "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have "
        f"changed or reset their password. The grant was issued on '{_moment(issued_at_s)}' and the TokensValidFrom "
        f"date (before which tokens are not valid) for this user is '{_moment(valid_from_s)}'.",
        suberror="bad_token",
    )


def refresh_token_inactive(issued_at_s: float, inactive_s: float) -> Refused:
    """Nobody used the refresh token for too long."""
    return Refused(
        400,
        _INVALID_GRANT,
        700082,
        f"The refresh token has expired due to inactivity. The token was issued on {_moment(issued_at_s)} and was "
        f"inactive for {int(inactive_s // 86400)}.00:00:00.",
        suberror="bad_token",
    )


def sign_in_too_old(issued_at_s: float, allowed_s: float) -> Refused:
    """Conditional Access asks people to sign in anew from time to time."""
    return Refused(
        400,
        _INVALID_GRANT,
        70043,
        "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. The "
        f"token was issued on {_moment(issued_at_s)} and the maximum allowed lifetime for this request is "
        f"{int(allowed_s)}.",
        suberror="token_expired",
    )


# The service looks after itself.


def client_loop(retry_after_s: int | None) -> Refused:
    """The same request again and again: 429 for an application on its own, 400 for one that acts for a user."""
    text = "The server terminated an operation because it encountered a loop while processing a request."
    if retry_after_s is None:
        return Refused(400, _INVALID_GRANT, 50196, text)
    return Refused(429, "temporarily_unavailable", 50196, text, retry_after_s=retry_after_s)


def tenant_throttled(retry_after_s: int | None) -> Refused:
    """Everybody together asks too much of this tenant."""
    text = "There are too many incoming requests. This exception is thrown for blocked tenants."
    return Refused(429, "temporarily_unavailable", 90055, text, retry_after_s=retry_after_s)
