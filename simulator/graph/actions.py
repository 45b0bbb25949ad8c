"""The actions on an event: cancelling, responding, forwarding, reminders, deleting for good.

Sources: Microsoft docs "event-cancel", "event-accept", "event-tentativelyaccept", "event-decline", "event-forward",
"event-dismissreminder", "event-snoozereminder"; refusals as observed by third parties.
"""

from typing import Any

from simulator.errors import GraphError, invalid_request, unknown_property, unreadable_body
from simulator.exchange import invitation
from simulator.exchange.event import Event
from simulator.exchange.times import read_moment
from simulator.graph.call import Answer
from simulator.graph.task import Task

JsonObject = dict[str, Any]

_RESPONDING = frozenset({"comment", "sendResponse"})
_PROPOSING = _RESPONDING | {"proposedNewTime"}


def _parameters(task: Task, names: frozenset[str]) -> JsonObject:
    """The body's parameters by the names of the documentation; they may be written with a capital."""
    task.no_options()
    if not task.call.payload and task.call.document is None:
        return {}
    document = task.call.json()
    if type(document) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    read: JsonObject = {}
    for member, value in document.items():
        name = member[:1].lower() + member[1:]
        if name not in names:
            raise unknown_property(member, "the action's parameters")
        read[name] = value
    if type(read.get("comment") or "") is not str:
        raise unreadable_body("Cannot convert the value of 'comment' to the expected type 'Edm.String'.")
    return read


def cancel(task: Task) -> Answer:
    """POST .../cancel: the organiser calls the meeting off, and it is gone."""
    _parameters(task, frozenset({"comment"}))
    event = task.event()
    if not event.wire["isOrganizer"]:
        raise invalid_request("Your request can't be completed. You need to be an organizer to cancel a meeting.")
    remove(task, event)
    return Answer(202)


def permanently_delete(task: Task) -> Answer:
    """POST .../permanentDelete: like DELETE, past the Deleted Items, which the simulator does not hold."""
    _parameters(task, frozenset())
    remove(task, task.event())
    return Answer(204)


def remove(task: Task, event: Event) -> None:
    """Deletes the event, with a cancellation to everybody whom its organiser invited."""
    meetings = task.meetings()
    meetings.remove(event)
    task.effect.mutation = True
    task.effect.invitations = meetings.mails


def accept(task: Task) -> Answer:
    """POST .../accept."""
    return _respond(task, "accepted", _RESPONDING)


def tentatively_accept(task: Task) -> Answer:
    """POST .../tentativelyAccept."""
    return _respond(task, "tentativelyAccepted", _PROPOSING)


def decline(task: Task) -> Answer:
    """POST .../decline: the event leaves the attendee's calendar."""
    return _respond(task, "declined", _PROPOSING)


def _respond(task: Task, response: str, names: frozenset[str]) -> Answer:
    given = _parameters(task, names)
    sends = given.get("sendResponse", True)
    if type(sends) is not bool:
        raise unreadable_body("Cannot convert the value of 'sendResponse' to the expected type 'Edm.Boolean'.")
    event, meetings = task.event(), task.meetings()
    proposed = _read_proposal(event, given.get("proposedNewTime"), sends=sends)
    meetings.respond(event, response, sends=sends, proposed=proposed)
    task.effect.mutation = True
    task.effect.invitations = meetings.mails
    return Answer(202)


def _read_proposal(event: Event, proposal: Any, *, sends: bool) -> JsonObject | None:
    if proposal is None:
        return None
    if type(proposal) is not dict or not {"start", "end"}.issuperset(proposal):
        raise unreadable_body("The parameter 'proposedNewTime' needs an object with 'start' and 'end'.")
    start, end = read_moment("start", proposal.get("start")), read_moment("end", proposal.get("end"))
    if not sends:
        raise GraphError(400, "ErrorInvalidParameter", "A new time can be proposed only with a response that is sent.")
    if not event.wire["allowNewTimeProposals"] or end.utc < start.utc:
        raise invalid_request("Your request can't be completed. The new time cannot be proposed.")
    return invitation.proposal(start, end)


def forward(task: Task) -> Answer:
    """POST .../forward: others get the invitation and become attendees; the organiser hears of a guest's forwarding."""
    recipients = _parameters(task, frozenset({"comment", "toRecipients"})).get("toRecipients")
    if type(recipients) is not list or not recipients or not all(_has_address(one) for one in recipients):
        raise GraphError(400, "ErrorInvalidRecipients", "At least one recipient with an address is needed.")
    meetings = task.meetings()
    meetings.forward(task.event(), recipients)
    task.effect.mutation = True
    task.effect.invitations = meetings.mails
    return Answer(202)


def _has_address(recipient: Any) -> bool:
    email = recipient.get("emailAddress") if type(recipient) is dict else None
    address = email.get("address") if type(email) is dict else None
    return type(address) is str and address != ""


def dismiss_reminder(task: Task) -> Answer:
    """POST .../dismissReminder. Reminders do not go off here, so nothing changes."""
    _parameters(task, frozenset())
    task.event()
    return Answer(200)


def snooze_reminder(task: Task) -> Answer:
    """POST .../snoozeReminder. Reminders do not go off here, so nothing changes."""
    given = _parameters(task, frozenset({"newReminderTime"}))
    read_moment("newReminderTime", given.get("newReminderTime"))
    task.event()
    return Answer(200)
