-- What upstream says (item), what the settings say (setting), and for each item and assignee what should stand in
-- the calendar and what does (entry). The outbox holds outcomes until Kafka has them.

CREATE TABLE setting (
    scope       text   NOT NULL CHECK (scope IN ('tenant', 'project', 'account')),
    tenant      text   NOT NULL,
    name        text   NOT NULL,              -- the project or the user; '' for the tenant itself
    revision    bigint NOT NULL,
    body        jsonb,                        -- NULL: taken away
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, scope, name)
);

CREATE TABLE item (
    tenant       text   NOT NULL,
    source       text   NOT NULL,
    kind         text   NOT NULL CHECK (kind IN ('action', 'contact')),
    id           text   NOT NULL,
    revision     bigint NOT NULL,
    content_hash bytea  NOT NULL,             -- tells a repeated message from a reused revision
    project      text,
    body         jsonb,                       -- NULL: deleted; the row stays, so that an older revision cannot bring it back
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, source, kind, id)
);
CREATE INDEX item_by_project ON item (tenant, project) WHERE project IS NOT NULL;

CREATE TABLE entry (
    entry_id         uuid PRIMARY KEY,        -- made from tenant, source, kind, id and assignee
    tenant           text   NOT NULL,
    source           text   NOT NULL,
    kind             text   NOT NULL,
    id               text   NOT NULL,
    assignee         text   NOT NULL,

    -- Desired: ingest alone writes these.
    revision         bigint NOT NULL,
    plan             bigint NOT NULL,         -- rises with every plan
    intent           text   NOT NULL CHECK (intent IN ('present', 'absent', 'hold')),
    reason           text   NOT NULL,
    directory        text,
    mailbox          text,
    content          jsonb,
    content_hash     bytea,

    -- Applied: writers alone write these.
    applied_plan     bigint  NOT NULL DEFAULT 0,
    applied_directory text,
    applied_mailbox  text,
    applied_hash     bytea,
    event_id         text,
    etag             text,
    generation       integer NOT NULL DEFAULT 0,      -- rises when the event is gone, so that the next create is another transaction
    in_doubt         boolean NOT NULL DEFAULT false,  -- a create may have reached Graph without our knowing
    doubted_at       timestamptz,                     -- when such a create was last about to be sent
    write_version    bigint  NOT NULL DEFAULT 0,      -- compare-and-set: rises with every write to the columns above
    attempts         integer NOT NULL DEFAULT 0,
    last_error       text,

    -- Shared: an outcome is owed for the plan; the entry has work, and when it is due.
    owed             boolean NOT NULL,
    due_at           timestamptz,
    published_at     timestamptz,                     -- when the newest revision was published, for the headline latency
    changed_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX entry_by_item ON entry (tenant, source, kind, id);
CREATE INDEX entry_by_assignee ON entry (tenant, assignee);
CREATE INDEX entry_due ON entry (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE outbox (
    outbox_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text  NOT NULL,
    key        text  NOT NULL,
    event_id   text  NOT NULL,                -- the CloudEvents id: the same however often it is published
    value      bytea NOT NULL,
    created_at timestamptz NOT NULL
);

-- A settings change re-plans what it touches, a chunk at a time; the row is the cursor.
CREATE TABLE replan (
    replan_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant       text NOT NULL,
    scope        text NOT NULL,
    name         text NOT NULL,
    after_source text NOT NULL DEFAULT '',
    after_kind   text NOT NULL DEFAULT '',
    after_id     text NOT NULL DEFAULT '',
    touched_at   timestamptz NOT NULL DEFAULT now(),  -- the one that waited longest goes next: no tenant starves another
    UNIQUE (tenant, scope, name)
);
