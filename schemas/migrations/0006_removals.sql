-- Removals that wait: which entries, what asked for it, and the counts that a breaker judges by.

ALTER TABLE entry
    ADD COLUMN parked_at  timestamptz,        -- a removal that must not happen yet, and since when; NULL: nothing holds it
    ADD COLUMN parked_for text,               -- what asked for it: 'events', or a setting: 'project/north'
    ADD COLUMN judged_by  bigint;             -- the re-plan that has yet to judge it; NULL: it waits for a confirmation
CREATE INDEX entry_parked ON entry (tenant, assignee) WHERE parked_at IS NOT NULL;

-- A mailbox's breaker, or a tenant's: how many entries stood when its window opened, and how many it let go since.
CREATE TABLE breaker (
    tenant     text    NOT NULL,
    name       text    NOT NULL,              -- the user; '' for the tenant as a whole
    opened_at  timestamptz,                   -- NULL: the next removal opens a window
    standing   integer NOT NULL DEFAULT 0,
    removed    integer NOT NULL DEFAULT 0,
    tripped_at timestamptz,                   -- NULL: it is armed
    PRIMARY KEY (tenant, name)
);
CREATE INDEX breaker_tripped ON breaker (tenant, name) WHERE tripped_at IS NOT NULL;
