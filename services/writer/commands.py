"""What the writer adds to the `calbus` command line. Names and sentences only: see `calbus.announced`."""

from calbus.announced import Announced

capacity = Announced(
    "Foretell pods, lag, Graph calls and throttling for a number of users, by simulating the busiest pod.",
    "services.writer.capacity_command:command",
)
writer = Announced("Write what is planned into the calendars.", "services.writer.__main__:command")
