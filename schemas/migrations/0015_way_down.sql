-- The way down, continued: switches that pause it, names of the default calendar, and how it stands.

ALTER TABLE calendar_pull
    ADD COLUMN paused     boolean NOT NULL DEFAULT false,   -- a switch is off: nothing is asked for, nothing forgotten
    ADD COLUMN is_default boolean NOT NULL DEFAULT false,   -- its name is the default calendar's: it is pulled as that
    ADD COLUMN detail     text    NOT NULL DEFAULT 'free_busy';  -- in which the user's own appointments were told

UPDATE calendar_pull p SET detail = coalesce(s.body ->> 'detail', 'free_busy')
FROM setting s WHERE s.tenant = p.tenant AND s.scope = 'account' AND s.name = p.username;

-- Entries that a writer found removed when it was to write them. The puller tells of it, whose events are in order.
CREATE TABLE lost_event (
    directory  text NOT NULL,
    event_id   text NOT NULL,
    entry_id   uuid NOT NULL,
    tenant     text NOT NULL,
    username   text NOT NULL,
    lane       text NOT NULL,
    calendar   text NOT NULL,              -- its name as the account had it; '' for the default calendar
    change_key text NOT NULL,              -- of our last write
    lost_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (directory, event_id)
);
CREATE INDEX lost_event_account ON lost_event (tenant, username);

-- How the way down of an account, or ('') of a tenant as a whole, stands, as it was published.
CREATE TABLE pull_status (
    tenant   text   NOT NULL,
    username text   NOT NULL,
    seq      bigint NOT NULL,              -- rises with every published change
    told     text   NOT NULL,              -- the reason that was published last
    PRIMARY KEY (tenant, username)
);

-- An occurrence that the user removed has no times.
ALTER TABLE override ALTER COLUMN starts DROP NOT NULL, ALTER COLUMN ends DROP NOT NULL;
