-- Whether accounts, and tenants as a whole, can synchronise, and what was published of it; what rests meanwhile.

CREATE TABLE account_status (
    tenant      text   NOT NULL,
    assignee    text   NOT NULL,              -- '': the tenant as a whole
    seq         bigint NOT NULL DEFAULT 0,    -- rises with every published change
    told        text,                         -- the reason that was published last; NULL: none ever was
    reason      text,                         -- of the trouble; NULL: there is none
    code        text   NOT NULL DEFAULT '',   -- Microsoft's own word for it
    directory   text   NOT NULL DEFAULT '',   -- where it was met: what is planned for another place is not held up
    mailbox     text   NOT NULL DEFAULT '',   -- the same, of an account
    since       timestamptz NOT NULL DEFAULT now(),
    attempts    integer NOT NULL DEFAULT 0,   -- probes that met it again
    probe_at    timestamptz,                  -- when it is looked at next, if there is a trouble
    probe_entry uuid,                         -- the entry that was chosen for that, until a writer takes it up
    roles_in    text,                         -- of a tenant: the directory in which a token that bore roles worked last
    PRIMARY KEY (tenant, assignee),
    CHECK ((reason IS NULL) = (probe_at IS NULL))
);
CREATE INDEX account_status_probe ON account_status (probe_at) WHERE probe_at IS NOT NULL;
CREATE INDEX account_status_chosen ON account_status (probe_entry) WHERE probe_entry IS NOT NULL;

-- Entries at rest are due at infinity: no sweep passes over them, and whoever sees the trouble end finds them here.
CREATE INDEX entry_resting ON entry (tenant, assignee) WHERE due_at = 'infinity';

ALTER TABLE outbox ADD COLUMN type text NOT NULL DEFAULT 'calbus.outcome.v1';
