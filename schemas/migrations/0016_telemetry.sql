-- What metrics and logs are made from: when a change happened, which event caused a plan, and plans that are lost.

ALTER TABLE outbox ADD COLUMN happened_at timestamptz;  -- when Outlook says that what is told of happened; NULL: nobody does
ALTER TABLE entry ADD COLUMN correlation text;          -- of the event that made the newest plan; requests to Graph bear it

-- An entry that owes an outcome and is due at no time, nor parked, is found by nobody. There should be none.
CREATE INDEX entry_stranded ON entry (entry_id) WHERE owed AND due_at IS NULL AND parked_at IS NULL;
