"""Outlook for people: a page with each mailbox as a week, and the little interface behind it."""
