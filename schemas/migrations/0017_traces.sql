-- Where traces are wanted (CALBUS_TRACES): which span of ingest a plan came about in, and of whom an event was told. Empty
-- elsewhere.

CREATE TABLE trace_context (
    entry_id  uuid   PRIMARY KEY REFERENCES entry ON DELETE CASCADE,
    plan      bigint NOT NULL,
    context   text   NOT NULL                 -- W3C's traceparent, and behind a space its tracestate if there is one
);

ALTER TABLE outbox ADD COLUMN trace text;     -- the same form: of the work that decided the event; NULL: not traced
