-- An event that stays in a mailbox which its account has left, and which calbus may no longer enter.

ALTER TABLE entry
    ADD COLUMN left_behind text;              -- the mailbox's lane, until the plan that left it has ended; NULL: none
