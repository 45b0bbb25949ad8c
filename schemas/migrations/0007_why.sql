-- What `calbus why` asks for: an item by its id alone, and messages about it that could not be read.

CREATE INDEX item_by_id ON item (id);

-- The newest dead letter that names an item, so that support staff hear of it. Kept as long as the dead letters are.
CREATE TABLE unread (
    tenant     text NOT NULL,
    source     text NOT NULL,
    id         text NOT NULL,
    reason     text NOT NULL,
    detail     text NOT NULL,
    position   text NOT NULL,                 -- topic/partition/offset of the original
    read_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant, source, id)
);
CREATE INDEX unread_by_age ON unread (read_at);
CREATE INDEX unread_by_id ON unread (id);
