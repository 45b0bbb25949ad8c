"""Change notifications: subscriptions, what they are told of a mailbox, and how that is delivered."""
