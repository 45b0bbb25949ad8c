"""Why an entry is, or is not, in a calendar: one list for outcomes, metrics, logs and explanations.

Only words and who must act live here; the decisions that choose a reason live with the services.
"""

from dataclasses import dataclass
from enum import StrEnum


class NextActor(StrEnum):
    """Whose move it is."""

    NOBODY = "nobody"
    CALBUS = "calbus"
    """calbus tries again by itself."""
    UPSTREAM = "upstream"
    """The business system, or somebody working in it, must change something."""
    USER = "user"
    """The owner of the calendar."""
    ADMINISTRATOR = "administrator"
    """The administrator of the Microsoft 365 directory."""
    PUBLISHER = "publisher"
    """The makers of the system that published a malformed message."""
    OPERATOR = "operator"
    """Whoever runs calbus."""


class Reason(StrEnum):
    # The calendar shows the revision.
    WRITTEN = "written"
    UNCHANGED = "unchanged"

    # The revision ended before it was known to be in the calendar, though it may have stood there for a moment.
    NEWER_REVISION = "newer_revision"
    SETTINGS_CHANGED = "settings_changed"

    # By plan, the revision does not stand in this calendar.
    NO_START = "no_start"
    UNASSIGNED = "unassigned"
    DELETED = "deleted"
    NO_ACCOUNT = "no_account"
    TENANT_NOT_ENABLED = "tenant_not_enabled"
    PROJECT_NOT_ENABLED = "project_not_enabled"
    PROJECT_NOT_SELECTED = "project_not_selected"
    ACCOUNT_NOT_ALLOWED = "account_not_allowed"
    ACCOUNT_BLOCKED = "account_blocked"
    DIRECTION_NOT_UP = "direction_not_up"
    BEFORE_ACTIVATION = "before_activation"
    ACCOUNT_UNLINKED = "account_unlinked"

    # A writer has it in hand, or is about to.
    QUEUED = "queued"

    # Upstream must change something.
    RECURRENCE_NOT_SUPPORTED = "recurrence_not_supported"
    OWNER_HAS_NO_ACCOUNT = "owner_has_no_account"
    OWNER_HAS_NO_MAILBOX = "owner_has_no_mailbox"
    ASSIGNER_LACKS_ACCESS = "assigner_lacks_access"

    # So many entries would go that somebody must say that it is meant.
    REMOVAL_PARKED = "removal_parked"

    # Microsoft 365 says no, and trying again as it is would not help.
    EVENT_REJECTED = "event_rejected"

    # Microsoft 365 cannot be reached as things stand; calbus keeps trying, slowly where others must act.
    THROTTLED = "throttled"
    GRAPH_UNAVAILABLE = "graph_unavailable"
    GRAPH_UNREACHABLE = "graph_unreachable"
    CONFLICT = "conflict"
    EVENT_GONE = "event_gone"
    IN_DOUBT = "in_doubt"
    TOKEN_REJECTED = "token_rejected"  # noqa: S105
    ACCESS_DENIED = "access_denied"
    ACCESS_POLICY = "access_policy"
    ACCESS_CHECK_FORBIDDEN = "access_check_forbidden"
    CALENDAR_MISSING = "calendar_missing"
    CALENDAR_READ_ONLY = "calendar_read_only"
    MAILBOX_UNKNOWN = "mailbox_unknown"
    MAILBOX_NOT_IN_CLOUD = "mailbox_not_in_cloud"
    DIRECTORY_UNKNOWN = "directory_unknown"
    APP_NOT_IN_DIRECTORY = "app_not_in_directory"
    APP_DISABLED = "app_disabled"
    CONSENT_MISSING = "consent_missing"
    CONDITIONAL_ACCESS = "conditional_access"
    CREDENTIAL_WRONG = "credential_wrong"
    CREDENTIAL_EXPIRED = "credential_expired"
    ENTRA_UNAVAILABLE = "entra_unavailable"

    # Of an account, not of an entry: nothing stands in its way.
    WORKING = "working"

    # A message that was not understood, and went to the dead letters.
    NOT_A_CLOUDEVENT = "not_a_cloudevent"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_TOPIC = "wrong_topic"
    INVALID_JSON = "invalid_json"
    INVALID_DATA = "invalid_data"
    INVALID_KEY = "invalid_key"
    REVISION_REUSED = "revision_reused"
    NOT_STORABLE = "not_storable"


# What another credential of the application may mend.
OF_CREDENTIAL = frozenset((Reason.CREDENTIAL_WRONG, Reason.CREDENTIAL_EXPIRED))


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a reason means to the person who asks, and what that person can do."""

    next_actor: NextActor
    says: str
    remedy: str = ""


_N, _C, _U, _A, _P, _O = (
    NextActor.NOBODY,
    NextActor.CALBUS,
    NextActor.UPSTREAM,
    NextActor.ADMINISTRATOR,
    NextActor.PUBLISHER,
    NextActor.OPERATOR,
)
_E = Explanation

EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.WRITTEN: _E(_N, "The calendar shows this revision."),
    Reason.UNCHANGED: _E(_N, "The calendar already showed what this revision asks for."),
    Reason.NEWER_REVISION: _E(_N, "A newer revision arrived before this one was known to be in the calendar."),
    Reason.SETTINGS_CHANGED: _E(
        _N, "A setting changed what this revision means before it was known to be in the calendar."
    ),
    Reason.NO_START: _E(_U, "The item has no start, so it stands in no calendar.", "Plan the item: give it a start."),
    Reason.UNASSIGNED: _E(_N, "The item is no longer assigned to this user."),
    Reason.DELETED: _E(_N, "The item was deleted in the source system."),
    Reason.NO_ACCOUNT: _E(
        NextActor.USER,
        "The assignee has no calbus account, so there is no calendar to write to.",
        "Link the user's mailbox.",
    ),
    Reason.TENANT_NOT_ENABLED: _E(
        _U, "calbus is not enabled for the organisation.", "Enable the organisation in its settings."
    ),
    Reason.PROJECT_NOT_ENABLED: _E(_U, "The item's project is not enabled.", "Enable the project for synchronisation."),
    Reason.PROJECT_NOT_SELECTED: _E(
        NextActor.USER, "The user did not select the item's project.", "Select the project in the account."
    ),
    Reason.ACCOUNT_NOT_ALLOWED: _E(
        _U, "The organisation does not let this user synchronise.", "Allow the user's account."
    ),
    Reason.ACCOUNT_BLOCKED: _E(
        _U, "The user is blocked in the business system.", "Unblock the user, if that is meant."
    ),
    Reason.DIRECTION_NOT_UP: _E(
        NextActor.USER, "The account does not synchronise up.", "Choose the direction up, or both."
    ),
    Reason.BEFORE_ACTIVATION: _E(
        _U,
        "The item is from before the account's activation.",
        "Set the tenant's `backfill` to `future` or `all`, if older items should be written too.",
    ),
    Reason.ACCOUNT_UNLINKED: _E(
        NextActor.USER, "The user's account was unlinked.", "Link the user's mailbox again, if that is meant."
    ),
    Reason.QUEUED: _E(_C, "The entry waits for its writer, or the writer is at it."),
    Reason.RECURRENCE_NOT_SUPPORTED: _E(
        _U,
        "Outlook cannot express the item's recurrence; the notice says which part of it.",
        "Change the rule, or publish the occurrences as items of their own.",
    ),
    Reason.OWNER_HAS_NO_ACCOUNT: _E(
        _U,
        "The item's owner is not the assignee and has no calbus account, so calbus cannot tell whether the owner may "
        "edit the assignee's calendar.",
        "Link the owner's mailbox, let somebody with access assign the item, or let the assignee own it.",
    ),
    Reason.OWNER_HAS_NO_MAILBOX: _E(
        _U,
        "The item's owner is not the assignee and has no mailbox in Microsoft 365.",
        "Correct the mailbox in the owner's account, or give the owner a mailbox.",
    ),
    Reason.ASSIGNER_LACKS_ACCESS: _E(
        _U,
        "The item's owner may not edit the assignee's calendar.",
        'The assignee shares the calendar with the owner in Outlook with "Can edit", or makes the owner a delegate.',
    ),
    Reason.REMOVAL_PARKED: _E(
        _O,
        "So many entries would leave calendars at once that calbus waits for a confirmation.",
        "Look at what changed. If it is meant, run `calbus confirm-removals`; if not, undo the change.",
    ),
    Reason.EVENT_REJECTED: _E(
        _O,
        "Microsoft Graph refused the entry as written, and would refuse it again.",
        "Look up the request id in the log; the next revision is tried afresh.",
    ),
    Reason.THROTTLED: _E(_C, "The mailbox is throttled by Microsoft; calbus waits as long as it was told to."),
    Reason.GRAPH_UNAVAILABLE: _E(_C, "Microsoft Graph had a fault of its own; calbus tries again."),
    Reason.GRAPH_UNREACHABLE: _E(_C, "Microsoft Graph did not answer; calbus tries again."),
    Reason.CONFLICT: _E(_C, "The entry was changed in Outlook at the same moment; calbus reads it anew."),
    Reason.EVENT_GONE: _E(_C, "The entry was removed in Outlook; calbus writes it anew."),
    Reason.IN_DOUBT: _E(
        _C, "A create may still arrive whose answer was lost; calbus looks once more before it calls the entry gone."
    ),
    Reason.TOKEN_REJECTED: _E(_C, "Microsoft Graph did not accept the access token; calbus fetches a new one."),
    Reason.ACCESS_DENIED: _E(
        _A,
        "calbus has no permission for this mailbox.",
        "Consent to Calendars.ReadWrite, or add the mailbox to the scope of the role assignment.",
    ),
    Reason.ACCESS_POLICY: _E(
        _A,
        "An application access policy of the organisation excludes this mailbox.",
        "Add the mailbox to the policy's group, or use role-based access for applications.",
    ),
    Reason.ACCESS_CHECK_FORBIDDEN: _E(
        _A,
        "calbus may not read the groups through which the item's owner may have access.",
        "Consent to GroupMember.Read.All, or share the calendar with the owner by name.",
    ),
    Reason.CALENDAR_MISSING: _E(
        NextActor.USER,
        "The mailbox has no calendar of the name that the account asks for.",
        "Make a calendar of that name in Outlook, or choose another one in the account.",
    ),
    Reason.CALENDAR_READ_ONLY: _E(
        NextActor.USER,
        "The calendar that the account asks for cannot be written to.",
        "Choose a calendar of the user's own in the account.",
    ),
    Reason.MAILBOX_UNKNOWN: _E(
        _A, "Microsoft 365 knows no such user or mailbox.", "Correct the account's mailbox, or create it."
    ),
    Reason.MAILBOX_NOT_IN_CLOUD: _E(
        _A,
        "The mailbox is not in Exchange Online: it has no licence, is inactive, or is on-premises.",
        "Give the user a licence with a mailbox, or move the mailbox to Exchange Online.",
    ),
    Reason.DIRECTORY_UNKNOWN: _E(
        _U, "Microsoft Entra knows no such directory.", "Correct the directory in the tenant's settings."
    ),
    Reason.APP_NOT_IN_DIRECTORY: _E(
        _A, "calbus is not known in the organisation's directory.", "Open the admin-consent link once."
    ),
    Reason.APP_DISABLED: _E(
        _A, "calbus was disabled in the organisation's directory.", "Enable the enterprise application."
    ),
    Reason.CONSENT_MISSING: _E(
        _A, "The organisation has not consented to what calbus asks for.", "Open the admin-consent link."
    ),
    Reason.CONDITIONAL_ACCESS: _E(
        _A,
        "The organisation's conditional access keeps calbus out.",
        "Let calbus's application through in the conditional access policies.",
    ),
    Reason.CREDENTIAL_WRONG: _E(
        _O,
        "Microsoft Entra did not accept calbus's secret or certificate.",
        "Set the secret's value, not its id.",
    ),
    Reason.CREDENTIAL_EXPIRED: _E(_O, "calbus's secret has expired.", "Make a new secret and roll it out."),
    Reason.ENTRA_UNAVAILABLE: _E(_C, "Microsoft Entra did not issue a token; calbus tries again."),
    Reason.WORKING: _E(_N, "The account synchronises."),
    Reason.NOT_A_CLOUDEVENT: _E(
        _P,
        "The message is not a CloudEvent 1.0.",
        "Send binary or structured mode with every required attribute.",
    ),
    Reason.UNKNOWN_TYPE: _E(_P, "The event's type is not one that calbus knows.", "See the event contract."),
    Reason.WRONG_TOPIC: _E(_P, "The event's type does not belong on this topic.", "See the event contract."),
    Reason.INVALID_JSON: _E(_P, "The message's data is not JSON.", "Send JSON in UTF-8."),
    Reason.INVALID_DATA: _E(_P, "The event's data breaks the contract.", "Mend the fields named."),
    Reason.INVALID_KEY: _E(_P, "The message's key is not the one this setting goes by.", "See the event contract."),
    Reason.REVISION_REUSED: _E(
        _P,
        "A revision that was seen before came again with other content.",
        "Raise the revision with every change.",
    ),
    Reason.NOT_STORABLE: _E(
        _P, "The event's content could not be planned or stored.", "Report this as a fault of calbus."
    ),
}


def explain(reason: Reason) -> Explanation:
    """The words for a reason; every reason has some (a test walks the list)."""
    return EXPLANATIONS[reason]
