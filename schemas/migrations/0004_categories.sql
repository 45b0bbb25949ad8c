-- Which categories were seen to in which mailbox, so that each is made once and then belongs to the mailbox's owner.

CREATE TABLE category (
    directory text NOT NULL,
    lane      text NOT NULL,  -- a digest of directory and mailbox: never the address
    name      text NOT NULL,  -- as Outlook compares names: without regard to case
    seen_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (directory, lane, name)
);
