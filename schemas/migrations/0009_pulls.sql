-- The way down: which calendars are pulled, how far, by whom, and what was last seen of their events.

-- A mailbox is leased as a whole: its calendars share one budget, and one request at a time.
CREATE TABLE pull_lane (
    lane        text PRIMARY KEY,            -- a digest of directory and mailbox: never the address
    lease_owner text,
    lease_until timestamptz,
    rests_until timestamptz,                 -- nothing is asked of the mailbox before
    spent_until timestamptz                  -- how far the requests that were sent have used up its budget
);

CREATE TABLE calendar_pull (
    pull_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant       text    NOT NULL,
    username     text    NOT NULL,
    calendar     text    NOT NULL,           -- its name; '' for the mailbox's default calendar
    directory    text    NOT NULL,
    mailbox      text    NOT NULL,
    lane         text    NOT NULL REFERENCES pull_lane,
    publishes    boolean NOT NULL,           -- the user's own appointments are told too
    calendar_id  text,                       -- where it was found; NULL: not looked up, or the default calendar

    -- The round: links are whole addresses as Graph gave them.
    version      bigint  NOT NULL DEFAULT 0, -- compare-and-set: rises with every write to these columns
    round        bigint  NOT NULL DEFAULT 0, -- counts full rounds; an event that the newest did not name is looked at
    window_start timestamptz,                -- frozen in the links
    window_end   timestamptz,
    rolled_at    timestamptz,                -- when the window was set
    delta_link   text,                       -- NULL: the next round, or the one under way, is a full one
    next_link    text,                       -- of a round under way: every page before it is durable
    began_at     timestamptz,                -- when that round, or else the last, began
    pages        integer NOT NULL DEFAULT 0, -- of the round under way, or else of the last
    items        integer NOT NULL DEFAULT 0,
    empties      integer NOT NULL DEFAULT 0, -- full rounds that showed nothing of a well-filled calendar, in a row

    -- When: the first three are what others may set.
    due_at       timestamptz NOT NULL DEFAULT now(),
    asked_at     timestamptz,                -- somebody wants it pulled: a round that began before does not do
    full_asked   boolean NOT NULL DEFAULT false,
    interval_s   double precision NOT NULL DEFAULT 0,
    failures     integer NOT NULL DEFAULT 0,
    last_error   text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    pulled_at    timestamptz,                -- when a round was last finished; NULL: the first is not over
    UNIQUE (tenant, username, calendar)
);
CREATE INDEX calendar_pull_due ON calendar_pull (due_at);
CREATE INDEX calendar_pull_lane ON calendar_pull (lane);

CREATE TABLE pulled_event (
    pull_id    bigint NOT NULL REFERENCES calendar_pull ON DELETE CASCADE,
    event_id   text   NOT NULL,
    seen       jsonb,                        -- as it was last seen; NULL: not yet, or it is gone and that was told
    entry_id   uuid,                         -- the entry of ours that it shows
    round      bigint NOT NULL,              -- the last full round that named it
    pending_at timestamptz,                  -- to be read by its id then; NULL: nothing is open
    attempts   integer NOT NULL DEFAULT 0,   -- reads that did not settle it
    PRIMARY KEY (pull_id, event_id)
);
CREATE INDEX pulled_event_pending ON pulled_event (pull_id, pending_at) WHERE pending_at IS NOT NULL;

-- Whose event it is; whose create may be under way; who has any.
CREATE INDEX entry_by_event ON entry (applied_directory, event_id) WHERE event_id IS NOT NULL;
CREATE INDEX entry_in_doubt ON entry (applied_directory, lower(applied_mailbox)) WHERE in_doubt;
CREATE INDEX entry_standing ON entry (tenant, assignee) WHERE event_id IS NOT NULL;
