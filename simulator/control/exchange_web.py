"""The administrative interface to directory and mailboxes: groups, shared calendars, invitations, sync states."""

import uuid

from aiohttp import web
from pydantic import TypeAdapter

from simulator.control.messages import CalendarShare, GroupInfo, GroupSettings, Invitation
from simulator.control.office import stored_event
from simulator.control.requests import ADMIN_PREFIX, Unknown, read_object, tenant_of, user_of
from simulator.entra.groups import Group
from simulator.exchange.event_input import read_changes
from simulator.tenant import Tenant
from simulator.wire import json_response
from simulator.world import World

_GROUP = TypeAdapter(GroupSettings)
_SHARE = TypeAdapter(CalendarShare)
_INVITATION = TypeAdapter(Invitation)
_GROUP_NAMESPACE = uuid.UUID("b1f4c1f7-4f0b-4a5e-9a43-1d0c7f6f3a52")


def _group_info(group: Group) -> GroupInfo:
    return GroupInfo(group.id, group.display_name, group.mail, group.security_enabled, tuple(group.members))


def _group_id(tenant: Tenant, name: str) -> str:
    """A GUID is an id already; any other name has an id of its own, always the same."""
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return str(uuid.uuid5(_GROUP_NAMESPACE, f"{tenant.id}/{name.lower()}"))


class ExchangeHandler:
    """Answers what it lists in `routes`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """What this handler answers."""
        tenant = f"{ADMIN_PREFIX}/tenants/{{tenant}}"
        user, group = f"{tenant}/users/{{user}}", f"{tenant}/groups/{{group}}"
        return [
            web.get(f"{tenant}/groups", self.list_groups),
            web.put(group, self.put_group),
            web.delete(group, self.remove_group),
            web.put(f"{user}/calendar_permissions", self.share_calendar),
            web.post(f"{user}/invitations", self.invite),
            web.post(f"{user}/forget_sync_states", self.forget_sync_states),
        ]

    async def list_groups(self, request: web.Request) -> web.Response:
        """All groups of a tenant."""
        groups = tenant_of(self._world, request).groups.all()
        return json_response({"value": [_group_info(group) for group in groups]})

    async def put_group(self, request: web.Request) -> web.Response:
        """Adds or replaces a group. Members are users by id or name, and groups by the name or id of their PUT."""
        settings = _GROUP.validate_python(await read_object(request))
        tenant, name = tenant_of(self._world, request), request.match_info["group"]
        members: dict[str, None] = {}
        for member in settings.members:
            user = tenant.user(member)
            group = tenant.groups.get(_group_id(tenant, member))
            if user is None and group is None:
                raise ValueError(f"There is no user or group {member} in the tenant.")
            members[(user.id if user else _group_id(tenant, member)).lower()] = None
        made = Group(
            _group_id(tenant, name), settings.display_name or name, settings.mail, settings.security_enabled, members
        )
        tenant.groups.put(made)
        return json_response(_group_info(made))

    async def remove_group(self, request: web.Request) -> web.Response:
        """Removes a group, also from other groups."""
        tenant, name = tenant_of(self._world, request), request.match_info["group"]
        try:
            tenant.groups.remove(_group_id(tenant, name))
        except KeyError:
            raise Unknown(f"There is no group {name} in the tenant.") from None
        return web.Response(status=204)

    async def share_calendar(self, request: web.Request) -> web.Response:
        """Gives a person, or with an empty address the organisation, a role on a calendar."""
        share = _SHARE.validate_python(await read_object(request))
        tenant, user = user_of(self._world, request)
        mailbox = user.mailbox
        calendar = mailbox.calendar(share.calendar_id) if share.calendar_id else mailbox.default_calendar
        calendar.shares.put(share.address, share.name, share.role, inside=tenant.is_inside(share.address))
        return web.Response(status=204)

    async def invite(self, request: web.Request) -> web.Response:
        """The user gets an invitation: an event with another organiser, not answered yet."""
        invitation = _INVITATION.validate_python(await read_object(request))
        tenant, user = user_of(self._world, request)
        changes = read_changes(invitation.event)
        changes.pop("transactionId", None)
        organizer = {"name": invitation.organizer_name or invitation.organizer, "address": invitation.organizer}
        event = user.mailbox.receive(organizer, changes, tenant.limits, tenant.now())
        return json_response(stored_event(event), 201)

    async def forget_sync_states(self, request: web.Request) -> web.Response:
        """Every delta round of the mailbox has to begin anew."""
        user_of(self._world, request)[1].mailbox.journal.generation += 1
        return web.Response(status=204)
