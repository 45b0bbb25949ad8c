"""The permissions of Graph that applications can ask for, and how a `scope` parameter is read.

Source: Microsoft docs "permissions-reference", "scopes-oidc". Only what touches calendars and the directory is listed;
a name that is not listed does not exist here.
"""

from dataclasses import dataclass

from simulator.entra.refusals import bad_scope

RESOURCE = "https://graph.microsoft.com"
RESOURCE_ID = "00000003-0000-0000-c000-000000000000"
DEFAULT = ".default"
_PREFIXES = (f"{RESOURCE}/", f"{RESOURCE_ID}/")

SIGN_IN = frozenset({"openid", "profile", "email", "offline_access"})

# What a user may grant for themselves, and what only an administrator may.
_BY_USERS = frozenset(
    {
        "User.Read", "User.ReadBasic.All", "Calendars.Read", "Calendars.ReadBasic", "Calendars.ReadWrite",
        "Calendars.Read.Shared", "Calendars.ReadWrite.Shared", "MailboxSettings.Read", "MailboxSettings.ReadWrite",
    }
)  # fmt: skip
BY_ADMINISTRATORS = frozenset(
    {
        "User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All", "Group.Read.All",
        "GroupMember.Read.All",
    }
)  # fmt: skip
_DELEGATED = {name.lower(): name for name in _BY_USERS | BY_ADMINISTRATORS}

# What an application may have on its own behalf.
_APPLICATION = {
    name.lower(): name
    for name in (
        "Calendars.Read", "Calendars.ReadBasic", "Calendars.ReadBasic.All", "Calendars.ReadWrite",
        "MailboxSettings.Read", "MailboxSettings.ReadWrite", "User.Read.All", "User.ReadBasic.All",
        "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All", "Group.Read.All",
        "GroupMember.Read.All",
    )
}  # fmt: skip

DESCRIPTIONS = {
    "openid": "Sign you in",
    "profile": "View your basic profile",
    "email": "View your email address",
    "offline_access": "Maintain access to data you have given it access to",
    "User.Read": "Sign you in and read your profile",
    "Calendars.Read": "Read your calendars",
    "Calendars.ReadWrite": "Have full access to your calendars",
    "Calendars.Read.Shared": "Read your and shared calendars",
    "Calendars.ReadWrite.Shared": "Read and write to your and shared calendars",
}


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a `scope` parameter asks for: sign-in scopes, permissions of Graph, or all that are registered."""

    sign_in: frozenset[str]
    permissions: frozenset[str]
    default: bool


def read_scopes(text: str) -> Scopes:
    """The scopes by their proper names, in whatever case they were written. Raises AADSTS70011."""
    sign_in, permissions, default = set(), set(), False
    for word in text.split():
        if word.lower() in SIGN_IN:
            sign_in.add(word.lower())
            continue
        prefix = next((prefix for prefix in _PREFIXES if word.lower().startswith(prefix)), "")
        name = word[len(prefix) :]
        if name.lower() == DEFAULT:
            default = True
        elif (known := _DELEGATED.get(name.lower())) is not None:
            permissions.add(known)
        else:
            raise bad_scope(text)
    if default and permissions:
        raise bad_scope(text)
    return Scopes(frozenset(sign_in), frozenset(permissions), default)


def known_role(name: str) -> str:
    """The proper name of an application permission, written in any case. Raises ValueError."""
    try:
        return _APPLICATION[name.lower()]
    except KeyError:
        raise ValueError(f"There is no application permission {name}.") from None


def known_scope(name: str) -> str:
    """The proper name of a delegated permission or of a scope of signing in, in any case. Raises ValueError."""
    lower = name.lower()
    if lower in SIGN_IN:
        return lower
    try:
        return _DELEGATED[lower]
    except KeyError:
        raise ValueError(f"There is no delegated permission {name}.") from None
