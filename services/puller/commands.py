"""What the puller adds to the `calbus` command line. Names and sentences only: see `calbus.announced`."""

from calbus.announced import Announced

forget_tenant = Announced(
    "Forget a tenant that has left: take out all that calbus keeps of it.",
    "services.puller.forget_tenant_command:command",
)
forget_user = Announced(
    "Forget a user: take out all that calbus keeps of one person.", "services.puller.forget_command:command"
)
pull = Announced(
    "Pull a mailbox's or a user's calendars now, instead of when they are due.", "services.puller.pull_command:command"
)
puller = Announced("Tell what people change in Outlook.", "services.puller.__main__:command")
