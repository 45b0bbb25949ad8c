"""The sign-in, consent and administrator-consent addresses over HTTP. What they decide is in `interaction`.

Every form posts to the address of its own request, so that nothing about a request is remembered between pages.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from simulator.control.faults import Fault, Target
from simulator.entra import pages
from simulator.entra.authorization import Asked, SentBack, read_admin_consent, read_sign_in
from simulator.entra.injected import injected
from simulator.entra.interaction import AskWho, Step, answer, find_person, next_step, sign_in
from simulator.entra.refusals import Refused
from simulator.wire import drop_connection, form_fields
from simulator.world import World

_COOKIE = "ESTSAUTH"
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(pages.AUTO_SUBMIT.encode()).digest()).decode()
_SECURITY = {
    "Cache-Control": "no-store, no-cache",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_SCRIPT_HASH}'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_Reader = Callable[[World, str, Mapping[str, str]], Asked]


@dataclass(slots=True)
class _Visit:
    """One request of a browser. `opened` is the cookie of a session that it opened."""

    form: Mapping[str, str]
    cookie: str
    opened: str | None = None


class SignInHandler:
    """Answers the addresses that people are sent to."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """What this handler answers."""
        readers: dict[str, _Reader] = {
            "/{tenant}/oauth2/v2.0/authorize": read_sign_in,
            "/{tenant}/adminconsent": partial(read_admin_consent, v2=False),
            "/{tenant}/v2.0/adminconsent": partial(read_admin_consent, v2=True),
        }
        return [
            web.route(method, path, partial(self._handle, read))
            for path, read in readers.items()
            for method in ("GET", "POST")
        ]

    async def _handle(self, read: _Reader, request: web.Request) -> web.Response:
        """One page. Whatever the request contains, the answer is a page or goes to a registered address."""
        form = await form_fields(request)
        # The protocol lets an application post its request; a form of ours names the step it answers.
        parameters = dict(request.query) if "step" in form else {**request.query, **form}
        fault = self._fault(request, parameters)
        if fault is not None and fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        if fault is not None and fault.answers:
            return _faulty(request, fault)
        visit = _Visit(form, request.cookies.get(_COOKIE, ""))
        try:
            asked = read(self._world, request.match_info["tenant"], parameters)
            step = self._step(asked, visit)
            response = _html(pages.show_step(self._world, asked, step, request.raw_path), 200)
        except SentBack as sent:
            response = _send(sent)
        except Refused as refused:
            response = _html(pages.show_refusal(refused), refused.status)
        if visit.opened is not None:
            response.set_cookie(_COOKIE, visit.opened, httponly=True, secure=request.secure, samesite="Lax", path="/")
        return response

    def _step(self, asked: Asked, visit: _Visit) -> Step:
        """The next page. Raises SentBack, Refused."""
        world, form = self._world, visit.form
        person = find_person(world, world.grants.sessions.get(visit.cookie))
        if form.get("step") == "sign_in":
            if form.get("answer") == "cancel":
                raise asked.cancelled()
            name = form.get("account") or form.get("username", "").strip()
            try:
                visit.opened, person = sign_in(world, asked, name, form.get("password", ""))
            except Refused as refused:
                return AskWho(refused)
        elif form.get("step") == "answer" and person is not None:
            return answer(world, asked, replace(person, just_now=True), form)
        return next_step(world, asked, person)

    def _fault(self, request: web.Request, parameters: Mapping[str, str]) -> Fault | None:
        tenant = self._world.tenant(request.match_info["tenant"])
        if tenant is None:
            return None
        client_id = parameters.get("client_id", "").lower()
        return self._world.faults.strike(Target(tenant.id, (), client_id, request.method, "authorize"))


def _html(content: str, status: int) -> web.Response:
    return web.Response(status=status, text=content, content_type="text/html", charset="utf-8", headers=_SECURITY)


def _send(sent: SentBack) -> web.Response:
    """The application's answer, in the way it asked for."""
    reply_to, parameters = sent.reply_to, sent.all_parameters()
    if reply_to.mode == "form_post":
        return _html(pages.show_form_post(reply_to, parameters), 200)
    mark = "#" if reply_to.mode == "fragment" else "&" if "?" in reply_to.redirect_uri else "?"
    location = f"{reply_to.redirect_uri}{mark}{urlencode(parameters)}"
    return web.Response(status=302, headers={**_SECURITY, "Location": location})


def _faulty(request: web.Request, fault: Fault) -> web.Response:
    if fault.drop:
        return drop_connection(request)
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    status = fault.status or 503
    if fault.empty_body:
        return web.Response(status=status, headers=headers)
    refused = injected(fault)
    response = _html(pages.show_refusal(refused) if refused else pages.show_trouble(fault.message), status)
    response.headers.update(headers)
    return response
