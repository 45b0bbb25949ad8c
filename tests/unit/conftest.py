"""How hypothesis runs here: see `tests.support.examples`."""

from tests.support.examples import load_profile

load_profile()
