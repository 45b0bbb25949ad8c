"""Reasons have words and a next actor; results fit the limits that are published for them."""

import re
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from schemas.examples import EXAMPLES
from schemas.reasons import EXPLANATIONS, NextActor, Reason, explain
from schemas.results import DeadLetter, Outcome

SILENT = {NextActor.NOBODY, NextActor.CALBUS}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason) -> None:
    explanation = explain(reason)
    assert re.fullmatch(r"[A-Zc].+\.", explanation.says)
    assert (explanation.remedy == "") == (explanation.next_actor in SILENT)
    assert explanation.remedy == "" or explanation.remedy.endswith(".")


def test_the_explanations_stand_in_the_order_of_the_reasons() -> None:
    assert list(EXPLANATIONS) == list(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_fits_into_an_outcome_and_a_dead_letter(reason: Reason) -> None:
    said = explain(reason)
    words = {"reason": reason, "message": said.says, "next_actor": said.next_actor, "remedy": said.remedy}
    assert Outcome.model_validate(EXAMPLES[Outcome]["applied"] | words).reason is reason
    assert DeadLetter.model_validate(EXAMPLES[DeadLetter]["complete"] | {"reason": reason}).reason is reason
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,63}", reason)


@pytest.mark.parametrize("naive", ["2026-03-30T14:02:11", datetime(2026, 3, 30)])
def test_the_time_of_a_result_is_an_instant(naive: object) -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Outcome.model_validate(EXAMPLES[Outcome]["applied"] | {"decided_at": naive})
    with pytest.raises(ValidationError, match="timezone"):
        DeadLetter.model_validate(EXAMPLES[DeadLetter]["complete"] | {"dead_at": naive})


def test_an_original_without_a_timestamp_can_be_a_dead_letter() -> None:
    letter = DeadLetter.model_validate(
        EXAMPLES[DeadLetter]["complete"] | {"timestamp_ms": -1, "dead_at": datetime.now(UTC)}
    )
    assert letter.timestamp_ms == -1
