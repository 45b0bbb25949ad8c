"""Makes each user's calendar equal to what is planned for it."""
