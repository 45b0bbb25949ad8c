"""Injected faults: which calls they hit and what they do to them. A rule with a seed repeats itself exactly."""

import itertools
import random
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

# The code of a fault that names none.
UNNAMED = "UnknownError"
DELAY_MAX_MS = 3_600_000
RETRY_AFTER_MAX_S = 366 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A rule. Matchers left at None match any call; an effect left out does not happen.

    A tenant is named by id or domain, a user by id or name, in any case; they, the app and the operation must be there.

    Operations are the names in the ledger, and `batch` and `token`. With `after_apply` the call does its work first;
    delay and answer come after it. `drop` closes the connection without an answer; an item of a batch takes the
    whole batch's answer with it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    tenant: str | None = None
    user: str | None = None
    app: str | None = None
    method: str | None = None
    operation: str | None = None
    probability: float = 1.0
    seed: int = 0
    times: int | None = None
    status: int | None = None
    code: str = UNNAMED
    message: str = ""
    retry_after_s: int | None = None
    empty_body: bool = False
    delay_ms: float = 0.0
    after_apply: bool = False
    drop: bool = False

    @property
    def answers(self) -> bool:
        """True if the caller gets the fault in place of an answer; otherwise it is only delayed."""
        return self.drop or self.status is not None

    def problem(self) -> str | None:
        """What is wrong with the rule, as a sentence; None if it can be used."""
        if not self.answers and self.delay_ms <= 0:
            return "A fault needs an effect: status, drop or delay_ms."
        if self.status is not None and not 400 <= self.status <= 599:
            return "The status of a fault must be from 400 to 599."
        if not 0 < self.probability <= 1:
            return "The probability must be more than 0 and at most 1."
        if self.times is not None and self.times < 1:
            return "times must be at least 1, or null."
        if self.delay_ms < 0 or (self.retry_after_s is not None and self.retry_after_s < 0):
            return "delay_ms and retry_after_s cannot be negative."
        if self.delay_ms > DELAY_MAX_MS:
            return f"delay_ms must be at most {DELAY_MAX_MS}."
        if self.retry_after_s is not None and self.retry_after_s > RETRY_AFTER_MAX_S:
            return f"retry_after_s must be at most {RETRY_AFTER_MAX_S}."
        return None


@dataclass(frozen=True, slots=True)
class Target:
    """A call as the rules see it. `user` are all names of the user addressed, in lower case."""

    tenant: str
    user: tuple[str, ...]
    app: str
    method: str
    operation: str


@dataclass(slots=True)
class FaultRule:
    """A fault that was added, with the times it has struck."""

    id: str
    fault: Fault
    dice: random.Random
    hits: int = 0

    def strikes(self, target: Target) -> bool:
        """Whether the rule hits this call; counts it if so."""
        fault = self.fault
        if fault.times is not None and self.hits >= fault.times:
            return False
        if (
            fault.tenant not in (None, target.tenant)
            or (fault.user is not None and fault.user not in target.user)
            or fault.app not in (None, target.app)
            or fault.method not in (None, target.method)
            or fault.operation not in (None, target.operation)
        ):
            return False
        if fault.probability < 1 and self.dice.random() >= fault.probability:
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class FaultRules:
    """All rules, oldest first; the first that strikes wins."""

    rules: dict[str, FaultRule] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def add(self, fault: Fault) -> FaultRule:
        """Adds a rule at the end; its matchers are as `fault_input` reads them."""
        dice = random.Random(fault.seed)  # noqa: S311 - repeatable chance, not a secret
        rule = FaultRule(f"fault-{next(self._numbers)}", fault, dice)
        self.rules[rule.id] = rule
        return rule

    def strike(self, target: Target) -> Fault | None:
        """The fault that hits this call, if any."""
        for rule in self.rules.values():
            if rule.strikes(target):
                return rule.fault
        return None

    def forget_tenant(self, tenant_id: str) -> None:
        """Removes the rules made for one tenant."""
        self.rules = {key: rule for key, rule in self.rules.items() if rule.fault.tenant != tenant_id}
