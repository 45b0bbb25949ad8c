"""How many examples a property is shown, and how hypothesis runs here.

`make test` shows the same few each time, whatever the machine's load; `HYPOTHESIS_PROFILE=thorough`, which is part of
`make test-slow`, the same and the rest; `HYPOTHESIS_PROFILE=explore` looks for new ones.
"""

import os

from hypothesis import HealthCheck, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "repeatable")
_SHARE = {"repeatable": 0.3, "thorough": 1.0, "explore": 20.0}


def shown(thorough: int) -> int:
    """Of so many examples in the thorough profile, how many are shown in this one."""
    return max(1, round(thorough * _SHARE[PROFILE]))


def load_profile() -> None:
    """Make the profile that the environment names the default of every property."""
    settings.register_profile(
        PROFILE,
        derandomize=PROFILE != "explore",
        # How long an example takes says something about the machine, nothing about the code.
        deadline=None,
        max_examples=shown(100),
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile(PROFILE)
