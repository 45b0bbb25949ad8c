"""Subscriptions in any course of events: kept while Microsoft lets us, never spun on, found again after any kill."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbus.graph.calls import Response
from calbus.graph.errors import Fault, Scope, fault_of
from calbus.graph.subscriptions import CHANGE_TYPES, Endpoints, Subscription, digest_of, endpoints_below
from calbus.store.subscriptions import Kept
from schemas.reasons import Reason
from services.puller.subscription_plan import (
    Answer,
    Conflict,
    Failed,
    Gate,
    Gone,
    Held,
    Nothing,
    Pace,
    Step,
    Trouble,
    after,
    answer_of,
    at_rest,
    attempt,
    found,
    next_step,
    renewal,
)
from tests.support import examples

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
LIFE = timedelta(days=6)
PACE = Pace(LIFE, retry_first_s=5, retry_max_s=900, reprobe_first_s=60, reprobe_max_s=3_600)
URL = "https://calbus.example"
OTHER_URL = "https://staging.example"
MAILBOX = "anna@contoso.example"
DIGEST = digest_of("secret")


def kept(**changes: object) -> Kept:
    base = Kept("lane", "directory", MAILBOX, lease=1, wanted=True, due_at=NOW)
    return replace(base, **changes)  # type: ignore[arg-type]


def alive(**changes: object) -> Kept:
    given = {"subscription_id": "s1", "url": URL, "state_digest": DIGEST, "expires_at": NOW + LIFE} | changes
    return kept(**{"renew_at": NOW + LIFE / 2} | given)


def shown(url: str = URL, **changes: object) -> Subscription:
    one = Subscription("s9", f"users/{MAILBOX}/events", CHANGE_TYPES, endpoints_below(url), "theirs", NOW + LIFE)
    return replace(one, **changes)  # type: ignore[arg-type]


# -- what is next -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (kept(), Step.CREATE),
        (kept(due_at=NOW + timedelta(seconds=1)), Step.REST),
        (kept(in_doubt=True), Step.FIND),
        (kept(in_doubt=True, wanted=False), Step.FIND),
        (kept(wanted=False), Step.FORGET),
        (alive(), Step.REST),
        (alive(renew_at=NOW), Step.RENEW),
        (alive(expires_at=NOW), Step.CREATE),
        (alive(expires_at=NOW, wanted=False), Step.FORGET),
        (alive(wanted=False), Step.DELETE),
        (alive(url=OTHER_URL), Step.DELETE),
        (alive(url=""), Step.DELETE),
    ],
)
def test_the_next_step(state: Kept, step: Step) -> None:
    assert next_step(state, URL, NOW) is step


def test_without_a_public_address_what_there_is_goes() -> None:
    assert next_step(alive(), None, NOW) is Step.DELETE
    assert next_step(kept(), None, NOW) is Step.FORGET


@given(st.floats(0, 1), st.integers(45 * 60, int(LIFE.total_seconds())))
def test_it_is_renewed_between_half_and_two_thirds_of_its_life(spread: float, life_s: int) -> None:
    share = (renewal(NOW, NOW + timedelta(seconds=life_s), spread) - NOW) / timedelta(seconds=life_s)
    assert 0.5 < share <= 2 / 3 + 1e-6


# -- what an answer means ---------------------------------------------------------------------------------------------


def response(status: int, code: str = "", *, retry_after: str | None = None, body: object = None) -> Response:
    given = body if body is not None else {"error": {"code": code, "message": ""}} if code else None
    headers = {"retry-after": retry_after} if retry_after else {}
    return Response(status, given, fault_of(status, headers, given, now=NOW))


@pytest.mark.parametrize(
    ("step", "answer", "meaning"),
    [
        (Step.CREATE, response(409, "ExtensionError"), Conflict()),
        (Step.CREATE, response(403, "ExtensionError"), Failed(Trouble.REFUSED)),
        (Step.CREATE, response(400, "ValidationError"), Failed(Trouble.NOT_VALIDATED)),
        (Step.CREATE, response(400, "InvalidRequest"), Failed(Trouble.INVALID)),
        (Step.CREATE, response(404, "ErrorInvalidUser"), Failed(Trouble.NO_MAILBOX)),
        (Step.CREATE, response(503), Failed(None, in_doubt=True)),
        (Step.CREATE, response(201, body={}), Failed(None, in_doubt=True)),
        (Step.CREATE, response(429, retry_after="77"), Failed(None, 77.0, of_directory=True)),
        (Step.RENEW, response(404, "ResourceNotFound"), Gone()),
        (Step.RENEW, response(404), Failed(None)),  # a gateway's, not Graph's
        (Step.RENEW, response(200, body={}), Held("s1", NOW + LIFE, URL, DIGEST)),
        (Step.RENEW, response(503, retry_after="9"), Failed(None, 9.0)),
        (Step.DELETE, response(204), Gone()),
        (Step.DELETE, response(404, "ResourceNotFound"), Gone()),
        (Step.FIND, response(404, "ResourceNotFound"), Failed(Trouble.NO_MAILBOX)),
    ],
)
def test_answers(step: Step, answer: Response, meaning: Answer) -> None:
    assert answer_of(step, alive(), answer, NOW + LIFE) == meaning


def test_no_token_is_a_trouble_of_the_directory() -> None:
    refused = Response(0, None, Fault(Reason.CONSENT_MISSING, Scope.DIRECTORY))
    assert answer_of(Step.CREATE, kept(), refused, NOW) == Failed(Trouble.DIRECTORY, of_directory=True)


def test_what_microsoft_grants_counts_not_what_was_asked() -> None:
    until = NOW + timedelta(hours=1)
    body = {"id": "AB-12", "expirationDateTime": "2026-12-01T10:00:00.0000000Z"}
    assert answer_of(Step.CREATE, alive(), response(201, body=body), NOW + LIFE) == Held("ab-12", until, URL, DIGEST)


# -- what a listing shows ---------------------------------------------------------------------------------------------


def test_one_of_ours_is_adopted_with_its_secret() -> None:
    assert found(kept(), [shown()], URL) == Held("s9", NOW + LIFE, URL, digest_of("theirs"))
    assert found(kept(), [shown(resource=f"/Users/{MAILBOX.upper()}/Events")], URL) != Nothing()


@pytest.mark.parametrize(
    "one",
    [
        shown(client_state=None),
        shown(endpoints=Endpoints(endpoints_below(URL).notifications, "")),
    ],
)
def test_one_of_ours_that_is_no_good_has_to_go(one: Subscription) -> None:
    result = found(kept(), [one], URL)
    assert result == Held("s9", NOW + LIFE, "", b"")
    assert next_step(after(Step.FIND, kept(in_doubt=True), result, NOW, PACE, 0.5), URL, NOW) is Step.DELETE


@pytest.mark.parametrize(
    "one",
    [
        shown(OTHER_URL),
        shown(resource="users/ben@contoso.example/events"),
        shown(change_types=frozenset(("created",))),
    ],
)
def test_others_are_left_alone(one: Subscription) -> None:
    assert found(kept(), [one], URL) == Nothing()


def test_one_made_for_an_earlier_address_goes_and_comes_anew() -> None:
    earlier = kept(in_doubt=True, url=OTHER_URL)
    state = after(Step.FIND, earlier, found(earlier, [shown(OTHER_URL)], URL), NOW, PACE, 0.5)
    assert (state.url, next_step(replace(state, due_at=NOW), URL, NOW)) == (OTHER_URL, Step.DELETE)


# -- what comes of it -------------------------------------------------------------------------------------------------


def test_a_lookup_that_fails_leaves_the_doubt() -> None:
    assert after(Step.FIND, kept(in_doubt=True), Failed(None), NOW, PACE, 0.5).in_doubt
    assert not after(Step.CREATE, kept(in_doubt=True), Failed(Trouble.REFUSED), NOW, PACE, 0.5).in_doubt
    assert after(Step.CREATE, kept(in_doubt=True), Failed(None, in_doubt=True), NOW, PACE, 0.5).in_doubt


@given(st.integers(0, 1_000_000), st.floats(0, 1), st.floats(0, 3_600), st.sampled_from([None, *Trouble]))
def test_retries_are_never_before_microsoft_asks_and_never_rarer_than_the_longest_wait(
    attempts: int, spread: float, asked_s: float, trouble: Trouble | None
) -> None:
    state = after(Step.CREATE, kept(attempts=attempts), Failed(trouble, asked_s), NOW, PACE, spread)
    waited_s = (state.due_at - NOW).total_seconds()
    assert asked_s - 1e-6 <= waited_s <= max(asked_s, PACE.reprobe_max_s) + 1e-6
    assert waited_s >= (PACE.retry_first_s if trouble is None else PACE.reprobe_first_s) / 2


def test_a_passing_fault_does_not_make_a_trouble_new() -> None:
    state = after(Step.CREATE, kept(trouble=Trouble.REFUSED), Failed(None), NOW, PACE, 0.5)
    assert state.trouble is Trouble.REFUSED


def test_the_gate_counts_what_was_under_way_as_one_failure() -> None:
    gate = Gate().failed(NOW, PACE, 0).failed(NOW, PACE, 0)
    assert (gate.failures, gate.is_open(NOW), gate.is_open(NOW + timedelta(seconds=60))) == (1, False, True)
    later = NOW + timedelta(seconds=60)
    assert gate.failed(later, PACE, 0).shut_until == later + timedelta(seconds=120)


# -- any course of events ---------------------------------------------------------------------------------------------


@dataclass
class Microsoft:
    """What would be on the other side: at most one subscription, and whatever befalls it."""

    number: int = 0
    held: Subscription | None = None

    def see(self, now: datetime) -> Subscription | None:
        if self.held is not None and self.held.expires_at <= now:
            self.held = None
        return self.held

    def do(self, step: Step, state: Kept, now: datetime, mishap: str) -> Answer:
        """Carry out a step; `mishap` is what goes wrong with it."""
        if mishap == "refused":
            return Failed(Trouble.REFUSED)
        if mishap == "unreachable":
            return Failed(None)
        answer = self._done(step, state, now)
        if mishap == "answer lost":
            return Failed(None, in_doubt=step is Step.CREATE)
        return answer

    def _done(self, step: Step, state: Kept, now: datetime) -> Answer:
        held = self.see(now)
        if step is Step.CREATE:
            if held is not None:
                return found(state, [held], URL)
            self.number += 1
            self.held = shown(id=f"s{self.number}", client_state=f"secret {self.number}", expires_at=now + LIFE)
            return Held(self.held.id, now + LIFE, URL, digest_of(f"secret {self.number}"))
        if step is Step.FIND:
            return found(state, [held] if held else [], URL)
        if held is None or held.id != state.subscription_id:
            return Gone()
        if step is Step.DELETE:
            self.held = None
            return Gone()
        self.held = replace(held, expires_at=now + LIFE)
        return Held(held.id, now + LIFE, state.url, state.state_digest)


MISHAPS = [
    "",
    "",
    "",
    "refused",
    "unreachable",
    "answer lost",
    "killed before",
    "killed after",
    "removed",
    "secret hidden",
]
CALM = timedelta(hours=8)


def step_once(microsoft: Microsoft, state: Kept, now: datetime, mishap: str, spread: float) -> Kept:
    """What is stored after the step that is due, if it goes like this."""
    step = next_step(state, URL, now)
    if step is Step.REST:
        return at_rest(state, now)
    if step is Step.FORGET:
        return state
    doing = attempt(state, URL, b"new") if step is Step.CREATE else state
    if mishap == "killed before":
        return doing  # what was stored before the request left is all that there is
    answer = microsoft.do(step, doing, now, mishap)
    if mishap == "killed after":
        return doing
    return after(step, doing, answer, now, PACE, spread)


@settings(max_examples=examples.shown(150), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(MISHAPS), st.floats(0, 3 * 86_400)), max_size=30),
    st.lists(st.booleans(), max_size=6),
    st.booleans(),
    st.floats(0, 1),
)
def test_after_any_course_of_events_it_is_there_if_wanted_and_gone_if_not(
    events: list[tuple[str, float]], wishes: list[bool], finally_wanted: bool, spread: float
) -> None:
    microsoft, state, now = Microsoft(), kept(), NOW

    for index, (mishap, passed_s) in enumerate(events):
        now += timedelta(seconds=passed_s)
        if index < len(wishes) and wishes[index] != state.wanted:
            state = replace(state, wanted=wishes[index], due_at=now)
        if mishap == "removed":
            microsoft.held = None
        if mishap == "secret hidden" and microsoft.held is not None:
            microsoft.held = replace(microsoft.held, client_state=None)
        state = step_once(microsoft, state, now, mishap, spread)

    # From now on nothing goes wrong. One that Microsoft ended in silence is missed at its renewal, at the latest.
    state = replace(state, wanted=finally_wanted, due_at=now)
    ends, steps = now + LIFE + CALM, 0
    while now < ends:
        before = state
        state = step_once(microsoft, state, now, "", spread)
        steps += 1
        assert steps <= 25, (before, state)
        now = max(state.due_at, now + timedelta(milliseconds=1))
        if next_step(state, URL, now) is Step.FORGET:
            break
    if finally_wanted:
        held = microsoft.see(min(now, ends))
        assert held is not None
        assert (state.subscription_id, state.trouble, state.in_doubt) == (held.id, None, False)
    else:
        assert microsoft.see(now) is None
        assert next_step(state, URL, now) is Step.FORGET
