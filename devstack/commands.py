"""What the stack adds to the `calbus` command line. Names and sentences only: see `calbus.announced`."""

from calbus.announced import Announced

demo = Announced(
    "Start everything, publish a recorded day of five products, show the calendars and judge the result.",
    "devstack.demo:command",
)
