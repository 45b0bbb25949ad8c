"""What ingest adds to the `calbus` command line. Names and sentences only: see `calbus.announced`."""

from calbus.announced import Announced

confirm_removals = Announced(
    "Let removals go that calbus held back because they were so many.", "services.ingest.confirm_command:command"
)
forecast = Announced(
    "Say what a switch-on would cost: entries, calls to Microsoft Graph, and minutes.",
    "services.ingest.forecast_command:command",
)
ingest = Announced("Take events in: validate, plan, and wake the writers.", "services.ingest.__main__:command")
restored = Announced(
    "After PostgreSQL was restored from a backup: first --reread-from, then --look-up.",
    "services.ingest.restored_command:command",
)
why = Announced(
    "Say why an item is, or is not, in its assignees' calendars: every switch, access, attempts, and what to do.",
    "services.ingest.why_command:command",
)
