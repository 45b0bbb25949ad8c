"""What an answer of Microsoft Graph or Entra ID means: the reason, and what it says about the mailbox.

Pure. "Unknown" is never "denied": what is not recognised counts as a passing fault and is tried again.
Sources: the error catalogues of Microsoft's documentation and what clients have observed in the wild.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from math import isnan
from typing import Any

from schemas.reasons import Reason

RETRY_AFTER_DEFAULT_S = 5.0
RETRY_AFTER_MAX_S = 3_600.0


class Scope(StrEnum):
    """What the fault says something about."""

    ENTRY = "entry"
    MAILBOX = "mailbox"
    """Every other call to this mailbox would meet it too."""
    DIRECTORY = "directory"
    """Every other call to any mailbox of this directory would meet it too."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a call did not do its work. `retry_after_s` is what Microsoft asked for, if it did."""

    reason: Reason
    scope: Scope
    retry_after_s: float | None = None
    may_be_applied: bool = False
    """The work may have been done all the same."""
    code: str = ""
    """Graph's own word, for the log."""
    request_id: str = ""
    """Graph's id of the request, which Microsoft's support asks for."""
    client_request_id: str = ""
    """Ours, which Graph keeps too."""


_MAILBOX_404 = {
    "errorinvaliduser": Reason.MAILBOX_UNKNOWN,
    "resourcenotfound": Reason.MAILBOX_UNKNOWN,
    "request_resourcenotfound": Reason.MAILBOX_UNKNOWN,
}
# Under which status the second comes is not known; what it says is.
_NOT_IN_CLOUD = frozenset(("mailboxnotenabledforrestapi", "mailboxnothostedinexchangeonline"))
# Said of the store or of the moment, never of what was asked, whatever the status.
_PASSING = frozenset(
    (
        "errorinternalservererror",
        "errorinternalservertransienterror",
        "errormailboxstoreunavailable",
        "mailboxinfostale",
        "errorservertoobusy",
        "errortimeoutexpired",
        "unknownerror",
        "serviceunavailable",
        "generalexception",
    )
)
_THROTTLED_STATUS = 429
_RAOP = "[raop]"


def fault_of(status: int, headers: dict[str, str], body: Any, *, now: datetime) -> Fault | None:
    """Read an answer; None if the call did its work. Header names are in lower case."""
    if 200 <= status < 300:
        return None
    return replace(_fault(status, headers, body, now), request_id=headers.get("request-id", ""))


def _fault(status: int, headers: dict[str, str], body: Any, now: datetime) -> Fault:
    code, message = _code(body)
    retry_after_s = retry_after(headers.get("retry-after"), now)
    named = code.lower()
    if status == _THROTTLED_STATUS:
        wait_s = RETRY_AFTER_DEFAULT_S if retry_after_s is None else retry_after_s
        return Fault(Reason.THROTTLED, Scope.MAILBOX, wait_s, code=code)
    if status >= 500 or status < 400:  # the latter is no answer of Graph's
        # Seen: a 503 that answers a write which was applied. Only a read says which. One that says when to come back
        # speaks for the mailbox, as a 429 does.
        scope = Scope.ENTRY if retry_after_s is None else Scope.MAILBOX
        return Fault(Reason.GRAPH_UNAVAILABLE, scope, retry_after_s, may_be_applied=True, code=code)
    if named in _PASSING:
        return Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, retry_after_s, may_be_applied=True, code=code)
    return _refusal(status, named, message, code)


def _refusal(status: int, named: str, message: str, code: str) -> Fault:
    if named in _NOT_IN_CLOUD:
        return Fault(Reason.MAILBOX_NOT_IN_CLOUD, Scope.MAILBOX, code=code)
    match status:
        case 401:
            return Fault(Reason.TOKEN_REJECTED, Scope.MAILBOX, code=code)
        case 403:
            policy = _RAOP in message.lower() or "access to odata is disabled" in message.lower()
            return Fault(Reason.ACCESS_POLICY if policy else Reason.ACCESS_DENIED, Scope.MAILBOX, code=code)
        case 404 if named in _MAILBOX_404:
            return Fault(_MAILBOX_404[named], Scope.MAILBOX, code=code)
        case 404 if named == "erroritemnotfound":
            return Fault(Reason.EVENT_GONE, Scope.ENTRY, code=code)
        case 409 | 412:
            return Fault(Reason.CONFLICT, Scope.ENTRY, code=code)
        case 408 | 423 | 424:
            return Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, may_be_applied=True, code=code)
        case 400 if named == "errorduplicatetransactionid":
            return Fault(Reason.CONFLICT, Scope.ENTRY, code=code)
        case 400 if named == "errorinvalididmalformed":
            # A stale or truncated id often lands here rather than on 404.
            return Fault(Reason.EVENT_GONE, Scope.ENTRY, code=code)
        case 400 | 413 | 422 if named:
            return Fault(Reason.EVENT_REJECTED, Scope.ENTRY, code=code)
        case _:
            # Not Graph's own words: a gateway's, or an address that is not Graph's. It says nothing about the entry.
            return Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, may_be_applied=True, code=code or f"status {status}")


def _code(body: Any) -> tuple[str, str]:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "", ""
    return str(error.get("code") or ""), str(error.get("message") or "")


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait, from either form of the header; None if there is none that can be read. At most an hour."""
    if not header:
        return None
    try:
        wait_s = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        wait_s = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
    return None if isnan(wait_s) else min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)


# By the number that Entra puts into `error_codes`. https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_AADSTS = {
    90002: Reason.DIRECTORY_UNKNOWN,
    900023: Reason.DIRECTORY_UNKNOWN,
    700016: Reason.APP_NOT_IN_DIRECTORY,
    7000112: Reason.APP_DISABLED,
    65001: Reason.CONSENT_MISSING,
    65004: Reason.CONSENT_MISSING,
    90094: Reason.CONSENT_MISSING,
    50105: Reason.CONSENT_MISSING,
    7000215: Reason.CREDENTIAL_WRONG,
    7000218: Reason.CREDENTIAL_WRONG,
    700027: Reason.CREDENTIAL_WRONG,
    7000222: Reason.CREDENTIAL_EXPIRED,
    53000: Reason.CONDITIONAL_ACCESS,
    53001: Reason.CONDITIONAL_ACCESS,
    53002: Reason.CONDITIONAL_ACCESS,
    53003: Reason.CONDITIONAL_ACCESS,
}
# Microsoft advises to react to `error` where the number is not known.
_OAUTH = {
    "invalid_client": Reason.CREDENTIAL_WRONG,
    "unauthorized_client": Reason.APP_NOT_IN_DIRECTORY,
    "consent_required": Reason.CONSENT_MISSING,
    "invalid_grant": Reason.CONSENT_MISSING,
    "interaction_required": Reason.CONDITIONAL_ACCESS,
}


def token_fault(answer: dict[str, Any]) -> Fault:
    """Read the error dictionary of the token endpoint."""
    numbers = answer.get("error_codes") or []
    reason = next((_AADSTS[number] for number in numbers if number in _AADSTS), None)
    if reason is None:
        reason = _OAUTH.get(str(answer.get("error")), Reason.ENTRA_UNAVAILABLE)
    code = f"AADSTS{numbers[0]}" if numbers else str(answer.get("error") or "")
    return Fault(reason, Scope.DIRECTORY, code=code)
