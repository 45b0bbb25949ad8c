"""Every promise has a test named after it, every acceptance test a promise, and the page says so."""

import pytest

from tests.acceptance.coverage import PAGE, names_of, page, proofs_of
from tests.acceptance.rows import ROWS, Product, Row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.product}-{row.name}")
def test_a_promise_is_proven_or_said_to_wait(row: Row) -> None:
    assert bool(proofs_of(row)) != bool(row.later)


@pytest.mark.parametrize("product", Product)
def test_every_acceptance_test_belongs_to_a_promise(product: Product) -> None:
    proven = {name for row in ROWS if row.product is product for name in proofs_of(row)}
    assert set(names_of(product)) == proven


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.acceptance.coverage`"
