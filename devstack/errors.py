"""What can go wrong with the stack, as one tree. Each error's sentence says what failed and whose move it is.
Only exceptions live here."""


class DevstackError(Exception):
    """The stack cannot be had or kept; the message is meant for the person at the terminal."""


class EngineUnavailableError(DevstackError):
    """An engine cannot be had on this machine: something must be installed, or a setting changed."""


class EngineFailedError(DevstackError):
    """An engine was started and did not become ready, or ended; the message ends with its last log lines."""


class NotOursError(DevstackError):
    """Stopping or killing was asked of an engine that was given by a setting and not started here."""
