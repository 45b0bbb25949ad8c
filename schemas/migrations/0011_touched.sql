-- What users changed of entries in Outlook: what the next revision writes anew, and the times of theirs that are kept.

ALTER TABLE entry
    ADD COLUMN touched text CHECK (touched IN ('entry', 'series'));  -- to be written at the next revision, equal or not

-- A time that a user gave an entry, or one occurrence of it, kept for as long as upstream's own times stay as they are.
CREATE TABLE override (
    entry_id uuid  NOT NULL,
    day      text  NOT NULL,  -- of a series: the day that its pattern has the occurrence on; '': the entry as a whole
    starts   text  NOT NULL,  -- an instant, or a date if it takes whole days
    ends     text  NOT NULL,  -- exclusive
    upstream bytea NOT NULL,  -- a digest of upstream's own times
    PRIMARY KEY (entry_id, day)
);

-- How often an entry was restored since: a user who insists is not fought for ever.
CREATE TABLE restore (
    entry_id uuid PRIMARY KEY,
    since    timestamptz NOT NULL,
    restores integer     NOT NULL
);
