"""Exchange Online: users, mailboxes, calendars and events, as values and state; nothing here speaks HTTP."""
