"""An outcome as the writer publishes it is the contract's; what is made quickly is what it would be slowly."""

from datetime import UTC, datetime
from uuid import uuid4, uuid5

import pytest

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, entry_id_of, transaction_id_of
from calbus.outcomes import outcome, told
from schemas.items import Kind
from schemas.reasons import Reason
from schemas.results import Ending, Outcome

NOW = datetime(2026, 11, 21, 9, 51, 35, 123456, tzinfo=UTC)


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("notice", ["", "Left behind: ünïcode “quoted”."])
def test_an_outcome_told_is_the_same_as_its_model(reason: Reason, notice: str) -> None:
    item = ItemKey("contoso", "planner", Kind.CONTACT, "c-1")
    desired = Desired(7, 9, Intent.PRESENT, Reason.WRITTEN, None, None, None, notice="Without its last line.")
    entry = Entry(entry_id_of(item, "ann"), item, "ann", desired, Applied(), owed=True)
    quick = told(entry, Ending.APPLIED, reason, NOW, notice=notice)
    slow = outcome(entry, Ending.APPLIED, reason, NOW, notice=notice)
    assert Outcome.model_validate_json(quick.value) == slow
    assert quick.value == slow.model_dump_json().encode()
    assert (quick.entry_id, quick.plan, quick.ending, quick.reason) == (slow.entry_id, 9, Ending.APPLIED, reason)


@pytest.mark.parametrize("generation", [0, 1, 12_345])
def test_a_transaction_id_is_a_name_based_uuid(generation: int) -> None:
    entry_id = uuid4()
    assert transaction_id_of(entry_id, generation) == uuid5(entry_id, str(generation))
    assert str(transaction_id_of(entry_id, generation)) == str(uuid5(entry_id, str(generation)))
