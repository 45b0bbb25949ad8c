-- What was judged or confirmed is durable at once, and carried out a chunk of entries at a time.

CREATE TABLE settlement (
    settlement_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant        text   NOT NULL,
    replan_id     bigint,                      -- judged: whose held removals (entry.judged_by); NULL: a confirmation
    kept          text[] NOT NULL DEFAULT '{}',-- judged: the users whose removals wait on; the others' go
    assignee      text,                        -- confirmed: only this user's; NULL: all of the tenant's
    parked_before timestamptz,                 -- confirmed: what was parked earlier goes
    due_at        timestamptz NOT NULL,        -- the next removal that goes is due then
    freed         bigint NOT NULL DEFAULT 0,   -- how many go so far
    touched_at    timestamptz NOT NULL DEFAULT clock_timestamp(),  -- the one that waited longest goes next
    CHECK ((replan_id IS NULL) = (parked_before IS NOT NULL))
);
CREATE INDEX entry_held ON entry (judged_by, entry_id) WHERE judged_by IS NOT NULL;
CREATE INDEX entry_waits ON entry (tenant, parked_at) WHERE parked_at IS NOT NULL AND judged_by IS NULL;
