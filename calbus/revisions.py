"""Which message about an item or a setting counts: the newest revision, in whatever order they arrive. Pure."""

from enum import StrEnum


class Verdict(StrEnum):
    """What becomes of a message."""

    ACCEPTED = "accepted"
    STALE = "stale"
    """Older than what is known."""
    DUPLICATE = "duplicate"
    """Known already, word for word."""
    REUSED = "reused"
    """The revision is known with other content: its publisher must raise the revision."""


def judge(known: int, incoming: int, *, same: bool) -> Verdict:
    """Compare an incoming revision with the known one; `same` says whether their contents are equal."""
    if incoming > known:
        return Verdict.ACCEPTED
    if incoming < known:
        return Verdict.STALE
    return Verdict.DUPLICATE if same else Verdict.REUSED
