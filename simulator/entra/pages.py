"""The pages people see: sign-in, second factor, consent, refusals. Plain HTML that works without JavaScript.

Everything that came from outside is escaped here and nowhere else.
"""

from collections.abc import Iterable, Mapping
from html import escape

from simulator.entra.authorization import Asked, ReplyTo
from simulator.entra.interaction import AskAdministrator, AskConsent, AskSecondFactor, AskWho, Person, Step
from simulator.entra.permissions import DESCRIPTIONS
from simulator.entra.refusals import Refused
from simulator.exchange.user import User
from simulator.world import World

USERS_SHOWN_MAX = 50
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;background:#eef1f5;color:#1b1b1b;margin:0;padding:2rem 1rem}"
    "main{max-width:30rem;margin:auto;background:#fff;padding:2rem;border-radius:.5rem;box-shadow:0 1px 6px #0003}"
    "h1{font-size:1.4rem;margin:0 0 1rem}ul{padding-left:1.2rem}button,input{font:inherit;padding:.4rem .7rem}"
    "label{display:block;margin:.6rem 0}input[type=text],input[type=password]{width:100%;box-sizing:border-box}"
    ".people button{display:block;width:100%;text-align:left;margin:.3rem 0}.error{color:#a4262c}"
    ".choice{margin-top:1.2rem;display:flex;gap:.6rem}code{overflow-wrap:anywhere}"
)
_TROUBLE = "Sorry, but we're having trouble signing you in"
# Sends a form by itself where scripts run; where they do not, there is a button.
AUTO_SUBMIT = "document.forms[0].submit()"


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )


def _form(action: str, hidden: Mapping[str, str], content: str) -> str:
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden.items()
    )
    return f'<form method="post" action="{escape(action)}">{fields}{content}</form>'


def show_step(world: World, asked: Asked, step: Step, action: str) -> str:
    """The page of a step. Its forms post to `action`, the address of the request itself."""
    match step:
        case AskWho():
            return _sign_in(world, asked, step, action)
        case AskSecondFactor():
            return _second_factor(step, action)
        case AskConsent():
            return _consent(asked, step, action)
        case AskAdministrator():
            return _ask_administrator(asked, step, action)


def show_refusal(refused: Refused) -> str:
    """The page on which a request ends that cannot be answered to the application."""
    return _page(_TROUBLE, _error(refused))


def show_trouble(message: str) -> str:
    """The page of an injected fault."""
    return _page(_TROUBLE, f'<p class="error" role="alert">{escape(message)}</p>')


def show_form_post(reply_to: ReplyTo, parameters: Mapping[str, str]) -> str:
    """The page that carries an answer to the application as a form."""
    button = '<noscript><p>Your browser runs no scripts.</p></noscript><button type="submit">Continue</button>'
    script = f"<script>{AUTO_SUBMIT}</script>"
    return _page("Working...", _form(reply_to.redirect_uri, parameters, button) + script)


def _error(refused: Refused) -> str:
    return (
        f'<p class="error" role="alert" data-code="{refused.code}">AADSTS{refused.code}: {escape(refused.message)}</p>'
    )


def _sign_in(world: World, asked: Asked, step: AskWho, action: str) -> str:
    hint = asked.login_hint
    content = "" if step.error is None else _error(step.error)
    people = "".join(
        f'<button type="submit" name="account" value="{escape(user.id)}">{escape(user.display_name)}'
        f" ({escape(user.upn)})</button>"
        for user in _people(world, asked)
    )
    fields = (
        '<label>User name<input type="text" name="username" autocomplete="username"'
        f' value="{escape(hint)}"></label>'
        '<label>Password<input type="password" name="password" autocomplete="current-password"></label>'
        '<div class="choice"><button type="submit" name="answer" value="sign_in">Sign in</button>'
        '<button type="submit" name="answer" value="cancel">Cancel</button></div>'
        "<p>Or pick who you are; a password is only asked of accounts that have one.</p>"
        f'<div class="people">{people}</div>'
    )
    purpose = f"<p>to continue to {escape(asked.app.name)}</p>"
    return _page("Sign in", purpose + content + _form(action, {"step": "sign_in"}, fields))


def _people(world: World, asked: Asked) -> Iterable[User]:
    """The first users who could sign in, the most likely first."""
    tenants = world.tenants.values() if asked.tenant is None else (asked.tenant,)
    hint = asked.login_hint.lower()
    users = [user for tenant in tenants for user in tenant.users.values()]
    return sorted(users, key=lambda user: hint not in user.names)[:USERS_SHOWN_MAX]


def _answer_form(action: str, person: Person, content: str) -> str:
    return _form(action, {"step": "answer", "canary": person.session.canary}, content)


def _choice(*buttons: tuple[str, str]) -> str:
    shown = (f'<button type="submit" name="answer" value="{value}">{label}</button>' for value, label in buttons)
    return f'<div class="choice">{"".join(shown)}</div>'


# By AADSTS code: title, text, and the button that does it.
_MORE_REQUIRED = {
    50076: ("Approve sign-in request", "Open your authenticator app, and approve the request.", "Approve"),
    50079: (
        "More information required",
        "Your organization needs more information to keep your account secure.",
        "Next",
    ),
    50158: ("Verify with another provider", "Your organization asks another provider to vouch for you.", "Continue"),
}


def _second_factor(step: AskSecondFactor, action: str) -> str:
    title, text, does_it = _MORE_REQUIRED[step.required.code]
    who = f"<p>{escape(step.person.user.upn)}</p><p>{text}</p>"
    buttons = _choice(("approve", does_it), ("cancel", "Cancel"))
    return _page(title, who + _answer_form(action, step.person, buttons))


def _consent(asked: Asked, step: AskConsent, action: str) -> str:
    scopes = [
        f"<li>{escape(DESCRIPTIONS.get(name, name))} <code>{escape(name)}</code></li>" for name in sorted(step.scopes)
    ]
    roles = [f"<li>Without a signed-in user: <code>{escape(name)}</code></li>" for name in step.roles]
    organization = step.person.tenant.domain or step.person.tenant.id
    note = f"<p>{escape(step.person.user.upn)}</p><p><b>{escape(asked.app.name)}</b> would like to:</p>"
    extra = ""
    if asked.is_admin_consent:
        note += f"<p>If you accept, it gets access for all users of {escape(organization)}.</p>"
    elif step.for_all:
        extra = (
            '<label><input type="checkbox" name="everybody" value="yes"> Consent on behalf of your organization</label>'
        )
    content = f"{note}<ul>{''.join(scopes + roles)}</ul>"
    form = _answer_form(action, step.person, extra + _choice(("accept", "Accept"), ("decline", "Cancel")))
    return _page("Permissions requested", content + form)


def _ask_administrator(asked: Asked, step: AskAdministrator, action: str) -> str:
    who = f"<p>{escape(step.person.user.upn)}</p>"
    buttons = _choice(("cancel", "Return to the application without granting consent"))
    title = "Approval required" if step.person.tenant.approval_by_request else "Need admin approval"
    if asked.is_admin_consent:
        title = "Need admin approval"
    return _page(title, who + _error(step.refused) + _answer_form(action, step.person, buttons))
