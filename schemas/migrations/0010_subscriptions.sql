-- What calbus has subscribed to, so that Microsoft tells of changes: one subscription for each mailbox that is pulled.

CREATE TABLE mailbox_subscription (
    lane            text    PRIMARY KEY,          -- the mailbox's, as in calendar_pull
    directory       text    NOT NULL,
    mailbox         text    NOT NULL,
    wanted          boolean NOT NULL DEFAULT true, -- false: to be taken back
    subscription_id text,                         -- Microsoft's name for it; NULL: there is none, or none that is known
    state_digest    bytea   NOT NULL DEFAULT '',  -- SHA-256 of the secret that notifications must bear
    url             text    NOT NULL DEFAULT '',  -- the public address that it was made for
    expires_at      timestamptz,
    renew_at        timestamptz,
    in_doubt        boolean NOT NULL DEFAULT false, -- a create has left, and its answer is not known
    attempts        integer NOT NULL DEFAULT 0,   -- that did not lead to a subscription since the last that did
    trouble         text,                         -- that somebody else must mend; told when it came
    due_at          timestamptz NOT NULL,         -- when it is looked at next
    lease           bigint  NOT NULL DEFAULT 0,   -- rises with whoever has it in hand: results of an earlier one are void
    lease_until     timestamptz,
    CHECK (subscription_id IS NULL OR (expires_at IS NOT NULL AND renew_at IS NOT NULL))
);
CREATE INDEX mailbox_subscription_due ON mailbox_subscription (due_at);
-- Not unique: two customers may name one directory differently, by its id and by its domain, and share a subscription.
CREATE INDEX mailbox_subscription_id ON mailbox_subscription (subscription_id) WHERE subscription_id IS NOT NULL;
