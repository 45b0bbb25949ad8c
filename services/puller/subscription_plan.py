"""What to do next about a mailbox's subscription, and what Microsoft's answer makes of it. Pure: no clock, no I/O.

A subscription is a convenience: whatever goes wrong with it, calendars are polled. So nothing here is given up, and
what somebody else must mend is tried again slowly.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from calbus.graph import subscriptions as graph
from calbus.graph.calls import Response
from calbus.graph.errors import Fault
from calbus.graph.subscriptions import Endpoints, Subscription, digest_of, endpoints_below
from calbus.store.subscriptions import Kept
from schemas.reasons import NextActor, Reason, explain

RENEWED_AT = 2 / 3
"""Of its life, at the latest."""
RENEWAL_SPREAD = 1 / 12
"""Of its life, so much earlier at most, lest all that were made together are renewed together."""
CREATED_AGAIN_AT_ONCE_MAX = 1
_DOUBLINGS_MAX = 30


class Step(StrEnum):
    """What is done next."""

    REST = "rest"
    CREATE = "create"
    FIND = "find"
    """Whether a create whose answer is not known was done."""
    RENEW = "renew"
    DELETE = "delete"
    FORGET = "forget"


class Trouble(StrEnum):
    """Why there is no subscription, where somebody else must act."""

    NOT_VALIDATED = "webhook_not_validated"
    """Microsoft does not get the right answer from the public address. Whose move: the operator."""
    REFUSED = "refused"
    """No permission for the mailbox, or it has all the subscriptions it can have. Whose move: the administrator."""
    NO_MAILBOX = "no_mailbox"
    INVALID = "invalid"
    """Microsoft does not take what calbus asks for. Whose move: the operator."""
    ELSEWHERE = "subscribed_elsewhere"
    """Another deployment under the same application has subscribed, to another address. Whose move: the operator."""
    DIRECTORY = "directory"
    """No token for the directory, or none that is good for anything there. Whose move: the administrator."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a subscription lives, and how long is waited after a fault, in seconds."""

    life: timedelta
    retry_first_s: float
    retry_max_s: float
    reprobe_first_s: float
    reprobe_max_s: float


@dataclass(frozen=True, slots=True)
class Held:
    """There is a subscription, made for this public address; '' if it is no good and has to go."""

    subscription_id: str
    expires_at: datetime
    url: str
    state_digest: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no such subscription any more."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """A create left no trace."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """There is one already. Only a listing tells which."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It was not done; without a trouble it passes by itself."""

    trouble: Trouble | None
    retry_after_s: float = 0.0
    in_doubt: bool = False
    of_directory: bool = False
    """Every other call for the directory would meet it too."""


Answer = Held | Gone | Nothing | Conflict | Failed


def next_step(kept: Kept, url: str | None, now: datetime) -> Step:
    """The step that is due. `url` is the address that Microsoft reaches calbus under, if there is one."""
    if kept.due_at > now:
        return Step.REST
    alive = kept.subscription_id is not None and kept.expires_at is not None and kept.expires_at > now
    if not alive:
        if kept.in_doubt:
            return Step.FIND
        return Step.CREATE if kept.wanted and url is not None else Step.FORGET
    if not kept.wanted or kept.url != url:
        return Step.DELETE
    return Step.RENEW if kept.renew_at is None or kept.renew_at <= now else Step.REST


def at_rest(kept: Kept, now: datetime) -> Kept:
    """As it is left alone until its renewal, if it was looked at without need."""
    return kept if kept.due_at > now or kept.renew_at is None else replace(kept, due_at=kept.renew_at)


def attempt(kept: Kept, url: str, state_digest: bytes) -> Kept:
    """What is stored before a create leaves, so that whoever comes after looks for it first."""
    return replace(
        kept,
        in_doubt=True,
        url=url,
        state_digest=state_digest,
        subscription_id=None,
        expires_at=None,
        renew_at=None,
    )


def after(step: Step, kept: Kept, answer: Answer, now: datetime, pace: Pace, spread: float) -> Kept:
    """What is known after the step. `spread` between 0 and 1 keeps many from being due at the same time.

    It is due again no sooner than `now`; at once only where another step follows.
    """
    match answer:
        case Held() if answer.url:
            renew_at = renewal(now, answer.expires_at, spread)
            return replace(
                kept,
                subscription_id=answer.subscription_id,
                state_digest=answer.state_digest,
                url=answer.url,
                expires_at=answer.expires_at,
                renew_at=renew_at,
                in_doubt=False,
                attempts=0,
                trouble=None,
                due_at=renew_at,
            )
        case Held():
            found = replace(
                kept,
                subscription_id=answer.subscription_id,
                url="",
                expires_at=answer.expires_at,
                renew_at=answer.expires_at,
                in_doubt=False,
            )
            return _again(found, now, pace, spread)
        case Gone():
            return replace(kept, subscription_id=None, expires_at=None, renew_at=None, due_at=now)
        case Nothing() if step is Step.FIND:
            return replace(kept, in_doubt=False, due_at=now)
        case Failed():
            doubted = answer.in_doubt if step is Step.CREATE else kept.in_doubt
            return _failed(replace(kept, in_doubt=doubted), answer, now, pace, spread)
        case _:  # it exists already, and is not to be found
            kept = replace(kept, in_doubt=False)
            return _failed(kept, Failed(Trouble.ELSEWHERE), now, pace, spread)


def _again(kept: Kept, now: datetime, pace: Pace, spread: float) -> Kept:
    """At once, unless that has been in vain before."""
    wait_s = 0.0
    if kept.attempts >= CREATED_AGAIN_AT_ONCE_MAX:
        wait_s = _backoff_s(kept.attempts, pace.reprobe_first_s, pace.reprobe_max_s, spread)
    return replace(kept, attempts=kept.attempts + 1, due_at=now + timedelta(seconds=wait_s))


def _failed(kept: Kept, failed: Failed, now: datetime, pace: Pace, spread: float) -> Kept:
    if failed.trouble is None:
        wait_s = _backoff_s(kept.attempts, pace.retry_first_s, pace.retry_max_s, spread)
    elif failed.trouble is Trouble.NOT_VALIDATED:
        # It concerns them all: the gate decides how often it is tried.
        wait_s = _backoff_s(0, pace.reprobe_first_s, pace.reprobe_max_s, spread)
    else:
        wait_s = _backoff_s(kept.attempts, pace.reprobe_first_s, pace.reprobe_max_s, spread)
    return replace(
        kept,
        attempts=kept.attempts + 1,
        trouble=failed.trouble or kept.trouble,
        due_at=now + timedelta(seconds=max(wait_s, failed.retry_after_s)),
    )


def renewal(now: datetime, expires_at: datetime, spread: float) -> datetime:
    """When a subscription that lives until then is renewed."""
    return now + (expires_at - now) * (RENEWED_AT - RENEWAL_SPREAD * spread)


def _backoff_s(attempts: int, first_s: float, max_s: float, spread: float) -> float:
    return float(min(first_s * 2.0 ** min(attempts, _DOUBLINGS_MAX), max_s)) * (1 - spread / 2)


def answer_of(step: Step, kept: Kept, response: Response, asked_until: datetime) -> Answer:
    """Read the answer to a create, a renewal or a deletion; `kept` as it was when the request left."""
    if response.fault is not None:
        return _refusal(step, response, response.fault)
    if step is Step.DELETE:
        return Gone()
    subscription_id = kept.subscription_id if step is Step.RENEW else graph.id_of(response.body)
    if subscription_id is None:
        return Failed(None, in_doubt=True)
    expires_at = graph.expiry_of(response.body) or asked_until
    return Held(subscription_id, expires_at, kept.url, kept.state_digest)


def _refusal(step: Step, response: Response, fault: Fault) -> Answer:
    creating = step is Step.CREATE
    retry_after_s = fault.retry_after_s or 0.0
    if response.status == 404 and fault.reason is not Reason.GRAPH_UNAVAILABLE and step in (Step.RENEW, Step.DELETE):
        return Gone()
    if response.status == 409 and creating:
        return Conflict()
    if response.status == 403:
        return Failed(Trouble.REFUSED, retry_after_s)
    match fault.reason:
        case Reason.EVENT_REJECTED:
            invalid = fault.code.lower() != "validationerror"
            return Failed(Trouble.INVALID if invalid else Trouble.NOT_VALIDATED, retry_after_s)
        case Reason.MAILBOX_UNKNOWN | Reason.MAILBOX_NOT_IN_CLOUD:
            return Failed(Trouble.NO_MAILBOX, retry_after_s)
        case Reason.THROTTLED:
            return Failed(None, retry_after_s, of_directory=True)
    if explain(fault.reason).next_actor is NextActor.CALBUS:
        return Failed(None, retry_after_s, in_doubt=creating and fault.may_be_applied)
    return Failed(Trouble.DIRECTORY, retry_after_s, of_directory=True)


def found(kept: Kept, listed: list[Subscription], url: str | None) -> Held | Nothing:
    """Which of the directory's subscriptions is this mailbox's, by the addresses it posts to.

    One to another address belongs to another deployment and is left alone. One of ours without a secret that can be
    read, or with only half of our addresses, is no good: it has to go. Of several, one that is good is taken.
    """
    ours: list[Held] = []
    for public_url in dict.fromkeys(one for one in (url, kept.url) if one):
        endpoints = endpoints_below(public_url)
        ours += [
            _held(one, endpoints, public_url)
            for one in listed
            if graph.watches(one, kept.mailbox) and one.endpoints.notifications == endpoints.notifications
        ]
    return next((one for one in ours if one.url), ours[0] if ours else Nothing())


def _held(one: Subscription, endpoints: Endpoints, public_url: str) -> Held:
    if one.client_state is None or one.endpoints != endpoints:
        return Held(one.id, one.expires_at, "", b"")
    return Held(one.id, one.expires_at, public_url, digest_of(one.client_state))


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether subscriptions may be created. It shuts where Microsoft does not reach the webhook: all would fail."""

    failures: int = 0
    shut_until: datetime | None = None

    def is_open(self, now: datetime) -> bool:
        """Whether any may be created; while `failures` stand, one at a time."""
        return self.shut_until is None or self.shut_until <= now

    def failed(self, now: datetime, pace: Pace, spread: float) -> "Gate":
        """It was not reached. What was under way when it shut counts as the same failure."""
        if not self.is_open(now):
            return self
        wait_s = _backoff_s(self.failures, pace.reprobe_first_s, pace.reprobe_max_s, spread)
        return Gate(self.failures + 1, now + timedelta(seconds=wait_s))
