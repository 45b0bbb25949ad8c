"""The actions on an event: cancelling, responding, forwarding, reminders, deleting for good.

Sources: Microsoft docs "event-cancel", "event-accept", "event-tentativelyaccept", "event-decline", "event-forward",
"event-dismissreminder", "event-snoozereminder"; refusals as observed by third parties.
"""

from typing import Any

from simulator.errors import GraphError, invalid_request, unknown_property, unreadable_body
from simulator.exchange.event import Event
from simulator.exchange.times import read_moment, timestamp
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


def attendees_told(event: Event) -> int:
    """How many people hear of a change: only the organiser's copy tells them."""
    return len(event.wire["attendees"]) if event.wire["isOrganizer"] else 0


def cancel(task: Task) -> Answer:
    """POST .../cancel: the organiser calls the meeting off, and it is gone."""
    _parameters(task, frozenset({"comment"}))
    event = task.event()
    if not event.wire["isOrganizer"]:
        raise invalid_request("Your request can't be completed. You need to be an organizer to cancel a meeting.")
    _remove(task, event)
    return Answer(202)


def permanently_delete(task: Task) -> Answer:
    """POST .../permanentDelete: like DELETE, past the Deleted Items, which the simulator does not hold."""
    _parameters(task, frozenset())
    _remove(task, task.event())
    return Answer(204)


def _remove(task: Task, event: Event) -> None:
    task.effect.invitations = attendees_told(event)
    task.mailbox.remove(event, task.tenant.limits, task.tenant.now())
    task.effect.mutation = True


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
    event = task.event()
    if event.wire["isOrganizer"]:
        raise invalid_request(
            "Your request can't be completed. You can't respond to this meeting because you're the meeting organizer."
        )
    _check_proposal(event, given.get("proposedNewTime"), sends=sends)
    limits, now = task.tenant.limits, task.tenant.now()
    if response == "declined":
        task.mailbox.remove(event, limits, now)
    else:
        task.mailbox.change(event, {"responseStatus": {"response": response, "time": timestamp(now)}}, limits, now)
    task.effect.mutation = True
    return Answer(202)


def _check_proposal(event: Event, proposal: Any, *, sends: bool) -> None:
    if proposal is None:
        return
    if type(proposal) is not dict or not {"start", "end"}.issuperset(proposal):
        raise unreadable_body("The parameter 'proposedNewTime' needs an object with 'start' and 'end'.")
    start, end = read_moment("start", proposal.get("start")), read_moment("end", proposal.get("end"))
    if not sends:
        raise GraphError(400, "ErrorInvalidParameter", "A new time can be proposed only with a response that is sent.")
    if not event.wire["allowNewTimeProposals"] or end.utc < start.utc:
        raise invalid_request("Your request can't be completed. The new time cannot be proposed.")


def forward(task: Task) -> Answer:
    """POST .../forward: others get the invitation; the event stays as it is."""
    recipients = _parameters(task, frozenset({"comment", "toRecipients"})).get("toRecipients")
    if type(recipients) is not list or not recipients or not all(_has_address(one) for one in recipients):
        raise GraphError(400, "ErrorInvalidRecipients", "At least one recipient with an address is needed.")
    task.event()
    task.effect.mutation = True
    task.effect.invitations = len(recipients)
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
