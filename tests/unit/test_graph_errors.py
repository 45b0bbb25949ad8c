"""What an answer of Graph or Entra means, row by row of what is known of their errors."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from calbus.graph.errors import (
    RETRY_AFTER_DEFAULT_S,
    RETRY_AFTER_MAX_S,
    Fault,
    Scope,
    fault_of,
    retry_after,
    token_fault,
)
from schemas.reasons import Reason

NOW = datetime(2026, 11, 21, 9, 51, 35, tzinfo=UTC)
RAOP = "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings."


def error(code: str, message: str = "Said in words.") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def fault(status: int, body: Any = None, **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found = fault_of(status, named, body, now=NOW)
    assert found is not None
    return found


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_success_is_no_fault(status: int) -> None:
    assert fault_of(status, {}, None, now=NOW) is None


@pytest.mark.parametrize(
    ("status", "body", "reason", "scope"),
    [
        (400, error("ErrorInvalidIdMalformed", "Id is malformed."), Reason.EVENT_GONE, Scope.ENTRY),
        (400, error("ErrorInvalidRequest"), Reason.EVENT_REJECTED, Scope.ENTRY),
        (400, error("TimeZoneNotSupportedException"), Reason.EVENT_REJECTED, Scope.ENTRY),
        (400, error("ErrorOccurrenceCrossingBoundary"), Reason.EVENT_REJECTED, Scope.ENTRY),
        (400, error("ErrorDuplicateTransactionId"), Reason.CONFLICT, Scope.ENTRY),
        (409, error("ErrorDuplicateTransactionId"), Reason.CONFLICT, Scope.ENTRY),
        (409, error("ConcurrentItemSave"), Reason.CONFLICT, Scope.ENTRY),
        (400, error("SomethingNew"), Reason.EVENT_REJECTED, Scope.ENTRY),
        (413, error("RequestEntityTooLarge"), Reason.EVENT_REJECTED, Scope.ENTRY),
        (422, error("UnprocessableEntity"), Reason.EVENT_REJECTED, Scope.ENTRY),
        (401, error("InvalidAuthenticationToken", "Access token is empty."), Reason.TOKEN_REJECTED, Scope.MAILBOX),
        (403, error("ErrorAccessDenied", "Access is denied."), Reason.ACCESS_DENIED, Scope.MAILBOX),
        (403, error("ErrorAccessDenied", RAOP), Reason.ACCESS_POLICY, Scope.MAILBOX),
        (403, error("ErrorAccessDenied", "Access to OData is disabled."), Reason.ACCESS_POLICY, Scope.MAILBOX),
        (403, error("Authorization_RequestDenied"), Reason.ACCESS_DENIED, Scope.MAILBOX),
        (403, None, Reason.ACCESS_DENIED, Scope.MAILBOX),
        (404, error("ErrorItemNotFound"), Reason.EVENT_GONE, Scope.ENTRY),
        (404, error("ErrorInvalidUser", "The requested user 'x' is invalid."), Reason.MAILBOX_UNKNOWN, Scope.MAILBOX),
        (404, error("ResourceNotFound"), Reason.MAILBOX_UNKNOWN, Scope.MAILBOX),
        (404, error("Request_ResourceNotFound"), Reason.MAILBOX_UNKNOWN, Scope.MAILBOX),
        (404, error("MailboxNotEnabledForRESTAPI"), Reason.MAILBOX_NOT_IN_CLOUD, Scope.MAILBOX),
        (404, error("MailboxNotHostedInExchangeOnline"), Reason.MAILBOX_NOT_IN_CLOUD, Scope.MAILBOX),
        (412, error("ErrorIrresolvableConflict"), Reason.CONFLICT, Scope.ENTRY),
        (429, error("ApplicationThrottled"), Reason.THROTTLED, Scope.MAILBOX),
        (429, error("TooManyRequests"), Reason.THROTTLED, Scope.MAILBOX),
        (429, error("UnknownError", ""), Reason.THROTTLED, Scope.MAILBOX),
        (429, None, Reason.THROTTLED, Scope.MAILBOX),
    ],
)
def test_a_refusal_was_not_applied(status: int, body: Any, reason: Reason, scope: Scope) -> None:
    found = fault(status, body)
    assert (found.reason, found.scope, found.may_be_applied) == (reason, scope, False)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((500, error(code)) for code in ("ErrorInternalServerError", "ErrorInternalServerTransientError")),
        (500, error("UnknownError", "")),
        *((503, error(code)) for code in ("MailboxInfoStale", "ErrorMailboxStoreUnavailable", "SomethingNew")),
        (503, None),
        (503, "<html>"),
        (504, None),
        (507, None),
        (509, None),
        (404, error("MailboxInfoStale")),
        (400, error("UnknownError", "")),
        (408, None),
        (423, None),
        (424, None),
        (404, None),
        (404, "<html>"),
        (404, error("itemNotFoundByTheGateway")),
        (400, None),
        (422, None),
        (405, error("Request_BadRequest")),
        (410, error("SyncStateNotFound")),
        (302, None),
        (0, None),
    ],
)
def test_a_passing_fault_is_tried_again_and_may_have_been_applied(status: int, body: Any) -> None:
    found = fault(status, body)
    assert (found.reason, found.scope, found.may_be_applied) == (Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, True)


@given(st.integers(500, 599), st.text())
def test_whatever_fault_graph_has_of_its_own_passes(status: int, code: str) -> None:
    assert fault(status, error(code)).reason is Reason.GRAPH_UNAVAILABLE


@pytest.mark.parametrize("code", ["errorinvaliduser", "ERRORINVALIDUSER", "ErrorInvalidUser"])
def test_codes_are_compared_whatever_their_case(code: str) -> None:
    assert fault(404, error(code)).reason is Reason.MAILBOX_UNKNOWN


def test_a_fault_keeps_graphs_own_words_for_the_log() -> None:
    found = fault(412, error("ErrorIrresolvableConflict"), request_id="7d2f")
    assert (found.code, found.request_id) == ("ErrorIrresolvableConflict", "7d2f")


# -- Retry-After ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("1", 1.0),
        ("120", 120.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("99999999999", RETRY_AFTER_MAX_S),
        ("inf", RETRY_AFTER_MAX_S),
        ("Sat, 21 Nov 2026 09:52:05 GMT", 30.0),
        ("Sat, 21 Nov 2026 09:52:05 -0000", 30.0),
        ("Sat, 21 Nov 2026 10:52:05 +0100", 30.0),
        ("Sat, 21 Nov 2026 09:00:00 GMT", 0.0),
        ("Sun, 21 Nov 2027 09:00:00 GMT", RETRY_AFTER_MAX_S),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_both_forms_of_retry_after_are_read(header: str | None, wait_s: float | None) -> None:
    assert retry_after(header, NOW) == wait_s


@given(st.integers(0, 3_600))
def test_a_date_in_retry_after_is_the_time_until_then(wait_s: int) -> None:
    assert retry_after(format_datetime(NOW + timedelta(seconds=wait_s), usegmt=True), NOW) == wait_s


@given(st.text(max_size=40))
@example("Mon, 99 Foo 2026 25:61:61 GMT")
@example("0")
def test_whatever_stands_in_retry_after_gives_a_wait_within_bounds_or_none(header: str) -> None:
    wait_s = retry_after(header, NOW)
    assert wait_s is None or 0.0 <= wait_s <= RETRY_AFTER_MAX_S


def test_a_throttled_mailbox_waits_as_long_as_it_was_told() -> None:
    assert fault(429, None, retry_after="17").retry_after_s == 17.0


@pytest.mark.parametrize("headers", [{}, {"retry_after": "soon"}])
def test_a_throttled_mailbox_that_was_not_told_waits_a_while(headers: dict[str, str]) -> None:
    assert fault(429, None, **headers).retry_after_s == RETRY_AFTER_DEFAULT_S


@pytest.mark.parametrize(("headers", "wait_s"), [({}, None), ({"retry_after": "9"}, 9.0)])
def test_an_unavailable_graph_may_say_how_long(headers: dict[str, str], wait_s: float | None) -> None:
    assert fault(503, None, **headers).retry_after_s == wait_s


# -- anything ---------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
bodies = st.one_of(
    json_values,
    st.fixed_dictionaries({"error": json_values}),
    st.fixed_dictionaries({"error": st.fixed_dictionaries({"code": json_values, "message": json_values})}),
)


@given(st.integers(100, 599), bodies, st.dictionaries(st.sampled_from(("retry-after", "request-id")), st.text()))
def test_no_answer_is_too_strange_to_be_read(status: int, body: Any, headers: dict[str, str]) -> None:
    found = fault_of(status, headers, body, now=NOW)
    assert (found is None) == (200 <= status < 300)


@given(st.integers(400, 599), bodies)
def test_what_is_not_known_never_speaks_of_the_whole_mailbox(status: int, body: Any) -> None:
    if status not in (401, 403, 404, 429):
        assert fault(status, body).scope is Scope.ENTRY


# -- Entra ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "word", "reason"),
    [
        (65001, "invalid_grant", Reason.CONSENT_MISSING),
        (65004, "consent_required", Reason.CONSENT_MISSING),
        (65004, "access_denied", Reason.CONSENT_MISSING),
        (90094, "invalid_grant", Reason.CONSENT_MISSING),
        (90095, "invalid_grant", Reason.CONSENT_MISSING),
        (50105, "unauthorized_client", Reason.CONSENT_MISSING),
        (700016, "unauthorized_client", Reason.APP_NOT_IN_DIRECTORY),
        (7000215, "invalid_client", Reason.CREDENTIAL_WRONG),
        (7000222, "invalid_client", Reason.CREDENTIAL_EXPIRED),
        (700027, "invalid_client", Reason.CREDENTIAL_WRONG),
        (7000218, "invalid_client", Reason.CREDENTIAL_WRONG),
        (7000112, "unauthorized_client", Reason.APP_DISABLED),
        (90002, "invalid_request", Reason.DIRECTORY_UNKNOWN),
        (90055, "temporarily_unavailable", Reason.ENTRA_UNAVAILABLE),
        (1, "unauthorized_client", Reason.APP_NOT_IN_DIRECTORY),
        (1, "invalid_client", Reason.CREDENTIAL_WRONG),
        (1, "server_error", Reason.ENTRA_UNAVAILABLE),
    ],
)
def test_a_refusal_of_entra_is_known_by_its_number_then_by_its_word(number: int, word: str, reason: Reason) -> None:
    found = token_fault({"error": word, "error_codes": [number]})
    assert (found.reason, found.scope, found.may_be_applied) == (reason, Scope.DIRECTORY, False)


def test_the_first_number_that_is_known_counts() -> None:
    found = token_fault({"error": "invalid_client", "error_codes": [1, 7000222]})
    assert (found.reason, found.code) == (Reason.CREDENTIAL_EXPIRED, "AADSTS1")


@pytest.mark.parametrize("answer", [{}, {"error": None}, {"error": "server_error"}, {"error_codes": None}])
def test_an_answer_without_numbers_is_no_denial(answer: dict[str, Any]) -> None:
    assert token_fault(answer).reason is Reason.ENTRA_UNAVAILABLE


@pytest.mark.parametrize("header", ["nan", "NaN", "Sat, 21 Nov 2026 09:52:05 +999999999999999"])
def test_rubbish_in_retry_after_is_none(header: str) -> None:
    assert retry_after(header, NOW) is None


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("code", ["MailboxNotHostedInExchangeOnline", "MailboxNotEnabledForRESTAPI"])
def test_a_mailbox_that_is_not_in_the_cloud_is_known_under_any_status(status: int, code: str) -> None:
    found = fault(status, error(code))
    assert (found.reason, found.scope) == (Reason.MAILBOX_NOT_IN_CLOUD, Scope.MAILBOX)
