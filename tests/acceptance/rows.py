"""Every promise that calbus keeps for the five products it was conceived from, and where it is proven."""

from dataclasses import dataclass
from enum import StrEnum


class Product(StrEnum):
    """Whose manual says so; `all` is what none of them has."""

    SCHOOLMONITOR = "schoolmonitor"
    BLIKK = "blikk"
    QUICK3 = "quick3"
    CHARITYLOG = "charitylog"
    PROFIT = "profit"
    ALL = "all"


TITLES = {
    Product.SCHOOLMONITOR: "Schoolmonitor: schools, the Netherlands",
    Product.BLIKK: "Blikk Classic: project firms, Sweden",
    Product.QUICK3: "Quick3: field service, Norway",
    Product.CHARITYLOG: "Charitylog: charities, United Kingdom",
    Product.PROFIT: "AFAS Profit: ERP, the Netherlands",
    Product.ALL: "What all of them lack",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One promise. Its tests are `test_{name}` and `test_{name}__{case}` in the product's module.

    `later`: what it waits for, if it is not kept yet; then it needs no test.
    """

    product: Product
    name: str
    promise: str
    kept_by: str
    later: str = ""


_S, _B, _Q, _C, _P, _A = Product
_CONNECT, _EWS = "the connect service (sign-in pages)", "Exchange Web Services"
_DOWN = "Change notifications with a delta sweep behind them; pull now by an event or `calbus pull`."
_DETAIL = "`direction` down or both; full details or free/busy only, and private items never more than busy."

ROWS = (
    Row(
        _S,
        "planned_actions_appear_and_others_do_not",
        "Actions that have a planning appear in the user's Outlook calendar; those without do not.",
        "An item without a start is kept and not written; it appears with its start and leaves without it.",
    ),
    Row(
        _S,
        "the_user_picks_the_environments",
        "The user picks from which environments actions are shown.",
        "The account's project selection; selecting or deselecting one adds or removes its items at once.",
    ),
    Row(
        _S,
        "status_is_seen_at_a_glance",
        "Open, active and completed are seen at a glance by icons.",
        "A status icon in the subject and an Outlook category in a fitting colour; both by the tenant's templates.",
    ),
    Row(
        _S,
        "a_change_shows_directly",
        "A change to an action shows in Outlook directly.",
        "Written within moments; a burst of edits comes down to its last state.",
    ),
    Row(_S, "the_user_signs_in", "The user switches it on and signs in at Microsoft.", "A delegated link.", _CONNECT),
    Row(
        _S,
        "nobody_before_the_organisation",
        "An employee cannot link before management has activated it; once it has, it works for the team.",
        "Nothing is written for a tenant that is not enabled, and the outcome says so.",
    ),
    Row(
        _S,
        "admin_approval_is_explained",
        "*Admin approval required*: what the administrator must do.",
        "Missing consent and a blocked application are account statuses with the administrator's steps.",
    ),
    Row(
        _B,
        "one_application_reaches_every_mailbox",
        "One dedicated service account reaches every mailbox.",
        "App-only access with a secret or a certificate, limited by Exchange's role-based access for applications.",
    ),
    Row(
        _B,
        "credentials_never_travel_on_the_bus",
        "An administrator picks the provider and enters the service credentials.",
        "A tenant names its directory in a settings event; credentials come from the environment only.",
    ),
    Row(
        _B,
        "each_user_chooses_without_signing_in",
        "After that each user chooses to synchronise.",
        "An account is a settings event, without any sign-in of the user's own.",
    ),
    Row(
        _Q,
        "only_support_switches_it_on",
        "The integration is a module that only support can switch on.",
        "Tenant activation.",
    ),
    Row(
        _Q,
        "direction_is_chosen_for_each_account",
        "Direction for each account: down, up, both, or none: paused and kept.",
        "`direction`; none stops everything without losing state and resumes where it left off.",
    ),
    Row(_Q, "scope_follows_direction", "*Scope* decides which permissions are asked for.", "Least scopes.", _CONNECT),
    Row(
        _Q,
        "up_goes_out_at_once",
        "Up goes out at once when an appointment is created or edited.",
        "An idle system writes a single event within a moment.",
    ),
    Row(_Q, "down_runs_by_itself", "Down runs by hand, or as a job with an interval.", _DOWN),
    Row(
        _Q,
        "only_one_calendar_goes_up",
        "Several calendars can come down, only one goes up.",
        "One up calendar for each account, the default one or one that is named; `down_calendars` for the way down.",
    ),
    Row(
        _Q,
        "the_first_link_fills_the_calendar",
        "After linking the first time, a full synchronisation.",
        "`backfill` writes future or all items from before; the pull of the calendar comes with the puller.",
    ),
    Row(
        _C,
        "actions_and_contacts_are_shown",
        "New outstanding actions and contacts are shown in Outlook.",
        "Both kinds; contacts carry client, place and kind.",
    ),
    Row(
        _C,
        "a_user_needs_a_mailbox",
        "Each synchronised user needs a licence with a mailbox.",
        "An account without a mailbox gets a clear account status, and no storm of retries.",
    ),
    Row(
        _C,
        "assigning_needs_edit_access",
        "To assign an item to a synchronised user the assigner needs *Full Edit* on that user's calendar.",
        "The edit-access check: a refused assignment writes nothing, and upstream hears why and what to do.",
    ),
    Row(
        _C,
        "who_is_not_synchronised_cannot_assign",
        "A user who is not synchronised manages their own items, and cannot assign to synchronised users.",
        "An owner without account or mailbox is refused; their own items are nobody's business.",
    ),
    Row(
        _C,
        "three_switches_are_needed",
        "Group access, project activation, and an operational rule for the whole system.",
        "Account allowed, project enabled, tenant enabled: each is needed.",
    ),
    Row(
        _C,
        "items_from_before_stay_out",
        "Items from before the integration was enabled are not synchronised.",
        "The cut-off at activation; `backfill` brings future or all items in.",
    ),
    Row(
        _C,
        "sharing_is_never_changed",
        "Calendar sharing is not set through the system.",
        "calbus reads calendar permissions and never changes one.",
    ),
    Row(
        _C,
        "troubleshooting_is_a_command",
        "Troubleshooting: the assigner's access; planned durations, else very thin slots; items from before.",
        "`calbus why` says every reason; a default duration for each project, so that nothing is a thin slot.",
    ),
    Row(
        _P,
        "appointments_are_synchronised",
        "Appointments are synchronised to the Outlook calendar of the user.",
        "Created, changed, moved and removed with the item.",
    ),
    Row(
        _P,
        "blocked_users_are_left_alone",
        "Appointments of blocked users are not.",
        "Account `blocked`: nothing is written or removed while it lasts.",
    ),
    Row(
        _P,
        "the_mailbox_may_deviate",
        "A deviating Exchange e-mail address says which mailbox.",
        "The account's `mailbox`, which may differ from the user's address and may change: entries move.",
    ),
    Row(
        _P,
        "access_is_limited_to_a_group",
        "One impersonating user that must be in the right distribution group.",
        "App-only access limited to a group's mailboxes; a mailbox out of scope is explained.",
    ),
    Row(_P, "outlook_shows_in_the_agenda", "Outlook items are shown in the agenda when ticked.", _DETAIL),
    Row(_P, "exchange_on_premises", "Exchange 2019, 2016 and 2013.", "The same calendar interface.", _EWS),
    Row(
        _A,
        "upstream_hears_of_edits",
        "What the user moves, edits or deletes in Outlook is told upstream.",
        "Typed events on the bus, once each, and no echo of what calbus wrote.",
    ),
    Row(
        _A,
        "every_event_ends_in_one_outcome",
        "Every input event ends in exactly one countable outcome.",
        "Outcomes reconcile with what came in; what cannot be read is a dead letter.",
    ),
    Row(
        _A,
        "no_mailbox_delays_another",
        "A mailbox that is throttled, broken or slow never delays another one.",
        "A lane for each mailbox.",
    ),
    Row(
        _A,
        "anything_may_be_killed",
        "Kill any process at any moment: nothing is lost and nothing appears twice.",
        "Level-triggered entries; a write leaves its trace first.",
    ),
    Row(
        _A,
        "nobody_is_sent_mail",
        "No synchronisation mails anybody.",
        "Assignees are never attendees; nothing that calbus writes sends an invitation, update or cancellation.",
    ),
    Row(
        _A,
        "support_staff_can_ask_why",
        "Support staff can find out why something is not in a calendar.",
        "`calbus why`, in words and as JSON.",
    ),
)
"""In the order of the products' own manuals."""
