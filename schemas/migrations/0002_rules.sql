-- Activation and its cut-off, who assigned, which calendar, refusals that may be lifted, and what `calbus why` tells.

ALTER TABLE item
    ADD COLUMN owner      text,
    ADD COLUMN revisions  bigint[]      NOT NULL DEFAULT '{}',  -- the newest accepted ones, newest first
    ADD COLUMN revised_at timestamptz[] NOT NULL DEFAULT '{}';  -- when each was published
CREATE INDEX item_by_owner ON item (tenant, owner, source, kind, id) WHERE owner IS NOT NULL;
-- A re-plan walks these in the order of its cursor.
DROP INDEX item_by_project;
CREATE INDEX item_by_project ON item (tenant, project, source, kind, id) WHERE project IS NOT NULL;
DROP INDEX entry_by_assignee;
CREATE INDEX entry_by_assignee ON entry (tenant, assignee, source, kind, id);

ALTER TABLE entry
    ADD COLUMN since            timestamptz,       -- when the item came to this assignee, as its publishers tell
    ADD COLUMN calendar         text,              -- desired: NULL is the mailbox's default calendar
    ADD COLUMN assigner         text,              -- desired: the mailbox that must have edit access; NULL: none must
    ADD COLUMN notice           text NOT NULL DEFAULT '',
    ADD COLUMN applied_calendar text,
    ADD COLUMN applied_grant    text,              -- the last grant that was found to be given
    ADD COLUMN applied_at       timestamptz,       -- when a writer last settled a plan
    ADD COLUMN refusal          text,              -- why a writer refused the newest plan; it looks again from time to time
    ADD COLUMN access_asked_at  timestamptz;       -- somebody says that a right was given: what was read before is void

-- An account's activation: the tenant enabled and the account allowed, both for the first time.
CREATE TABLE activation (
    tenant       text NOT NULL,
    name         text NOT NULL,
    activated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name)
);
-- Accounts from before activations were kept had no cut-off.
INSERT INTO activation (tenant, name, activated_at)
SELECT a.tenant, a.name, '1970-01-01' FROM setting a JOIN setting t ON t.tenant = a.tenant AND t.scope = 'tenant'
WHERE a.scope = 'account' AND (a.body ->> 'allowed')::boolean AND (t.body ->> 'enabled')::boolean;
CREATE INDEX entry_refused ON entry (tenant, assignee) WHERE refusal IS NOT NULL;
