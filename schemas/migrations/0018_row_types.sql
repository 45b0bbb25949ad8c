-- Rows as ingest hands them over, many at once: an array of rows costs its client and the server less than an array for
-- each column. A row with other columns is another type, so that programs of the version before go on working.

CREATE TYPE item_key AS (tenant text, source text, kind text, id text);

CREATE TYPE item_revision AS (
    tenant       text,
    source       text,
    kind         text,
    id           text,
    revision     bigint,
    content_hash bytea,
    project      text,
    owner        text,
    body         jsonb,
    published_at timestamptz
);

CREATE TYPE entry_plan AS (
    entry_id     uuid,
    tenant       text,
    source       text,
    kind         text,
    id           text,
    assignee     text,
    revision     bigint,
    plan         bigint,
    intent       text,
    reason       text,
    directory    text,
    mailbox      text,
    content      jsonb,
    content_hash bytea,
    owed         boolean,
    due_at       timestamptz,
    published_at timestamptz,
    since        timestamptz,
    calendar     text,
    assigner     text,
    notice       text,
    correlation  text
);
