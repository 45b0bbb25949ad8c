-- Rows as in migration 18, with each moment as seconds since 1970: of a timestamptz the driver asks whether it is one of
-- two infinities, and brings it to UTC, which takes it as long as ten other columns.

CREATE TYPE item_told AS (
    tenant       text,
    source       text,
    kind         text,
    id           text,
    revision     bigint,
    content_hash bytea,
    project      text,
    owner        text,
    body         jsonb,
    published_s  double precision
);

CREATE TYPE entry_desired AS (
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
    due_s        double precision,
    published_s  double precision,
    since_s      double precision,
    calendar     text,
    assigner     text,
    notice       text,
    correlation  text
);
