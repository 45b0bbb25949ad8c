"""What people's business systems send in the busiest hour, as changes to a share of the mailboxes. Pure, seeded."""

import math
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from statistics import NormalDist

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S
_NORMAL = NormalDist()
# Spreads mailboxes over tenants whatever their number says of how busy they are (Knuth's multiplicative hash).
_SCATTER, _SCATTER_MODULUS = 2_654_435_761, 2**32


@dataclass(frozen=True, slots=True)
class Load:
    """Users, and what changes in their calendars.

    `peak`: the share of the day's changes in its busiest hour. `user_skew`: the standard deviation of the logarithm of
    how busy a user is; 0 is all alike, 1 gives the busiest hundredth a tenth of it. `tenant_skew`: Zipf's exponent of
    the tenants' sizes. `imports`: mailboxes that get `import_items` at one moment within that hour, besides.
    """

    users: int
    items_per_day: float = 10.0
    peak: float = 0.2
    tenants: int = 0
    tenant_skew: float = 0.8
    user_skew: float = 1.0
    imports: int = 0
    import_items: int = 2_000

    @property
    def changes_per_day(self) -> float:
        """Of all users together."""
        return self.users * self.items_per_day + self.imports * self.import_items

    @property
    def everyday_per_s(self) -> float:
        """In the busiest hour, without imports."""
        return self.users * self.items_per_day * self.peak / HOUR_S

    @property
    def peak_per_s(self) -> float:
        """In the busiest hour, with imports."""
        return self.everyday_per_s + self.imports * self.import_items / HOUR_S


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that is to be written: when its event was published, and for whom."""

    at_s: float
    mailbox: int
    tenant: int
    is_import: bool = False


@dataclass(frozen=True, slots=True)
class Crowd:
    """The mailboxes that one pod owns. Which of them changes is drawn anew each time: none is held in memory."""

    mailboxes: int
    tenants: int
    tenant_skew: float
    user_skew: float
    _sizes: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sizes = list(accumulate((number + 1) ** -self.tenant_skew for number in range(self.tenants)))
        object.__setattr__(self, "_sizes", sizes)

    def busy_mailbox(self, random: Random) -> int:
        """A mailbox, the busier the likelier. The highest numbers are the busiest."""
        if not self.user_skew:
            return random.randrange(self.mailboxes)
        # How busy mailboxes are is log-normal; counted by changes instead of mailboxes, it is so again, shifted.
        rank = _NORMAL.cdf(random.gauss(self.user_skew, 1.0))
        return min(int(rank * self.mailboxes), self.mailboxes - 1)

    def tenant_of(self, mailbox: int) -> int:
        """Always the same for a mailbox."""
        place = (mailbox * _SCATTER % _SCATTER_MODULUS) / _SCATTER_MODULUS
        return min(bisect(self._sizes, place * self._sizes[-1]), self.tenants - 1)

    def change(self, at_s: float, random: Random) -> Change:
        """A change of some mailbox."""
        mailbox = self.busy_mailbox(random)
        return Change(at_s, mailbox, self.tenant_of(mailbox))

    def everyday(self, per_s: float, seconds: float, random: Random) -> Iterator[Change]:
        """Changes that come independently of each other, so many a second."""
        at_s = random.expovariate(per_s) if per_s > 0 else math.inf
        while at_s < seconds:
            yield self.change(at_s, random)
            at_s += random.expovariate(per_s)

    def imports(self, mailboxes: int, items: int, seconds: float, random: Random) -> Iterator[Change]:
        """So many mailboxes that get so many entries each at one moment in the first half of the time."""
        for at_s in sorted(random.uniform(0.0, seconds / 2) for _ in range(mailboxes)):
            mailbox = random.randrange(self.mailboxes)
            change = Change(at_s, mailbox, self.tenant_of(mailbox), is_import=True)
            for _ in range(items):
                yield change
