"""What must be done to a database that was restored from a backup, before calbus goes on with it."""

from calbus.store.connection import Connection

# More than happens to one entry or account between two backups.
NUMBERS_SKIPPED = 1_000
GENERATIONS_SKIPPED = 10
LOOKED_UP_PER_S = 1_000

# The numbers of plans and statuses are ids on the bus: what was published after the backup has used some up.
_SKIP = (
    f"""
    UPDATE entry SET plan = plan + {NUMBERS_SKIPPED},
                     applied_plan = CASE WHEN applied_plan = plan THEN plan + {NUMBERS_SKIPPED} ELSE applied_plan END
    """,  # noqa: S608
    f"UPDATE account_status SET seq = seq + {NUMBERS_SKIPPED}",  # noqa: S608
    f"UPDATE pull_status SET seq = seq + {NUMBERS_SKIPPED}",  # noqa: S608
)

# An event of any generation that may have been is taken for ours; none that was used before is used for another.
_DOUBT = """
UPDATE entry e SET
    in_doubt = true, doubted_at = NULL, generation = generation + $1, write_version = write_version + 1,
    applied_directory = directory, applied_mailbox = mailbox, applied_calendar = calendar,
    due_at = CASE WHEN parked_at IS NULL AND due_at IS DISTINCT FROM 'infinity'
                  THEN now() + make_interval(secs => n.number / $2::float) ELSE due_at END
FROM (
    SELECT entry_id, row_number() OVER (ORDER BY entry_id) AS number FROM entry
    WHERE intent = 'present' AND event_id IS NULL AND NOT in_doubt AND mailbox IS NOT NULL
) n WHERE e.entry_id = n.entry_id
"""

# What is to go to another calendar may have gone since, and have been made anew there: the writer finds that it stands
# no more where it was, and looks for an event of any generation that may have been before it creates one.
_MOVED = """
UPDATE entry e SET generation = generation + $1, write_version = write_version + 1
WHERE intent = 'present' AND event_id IS NOT NULL
  AND (lower(applied_directory), lower(applied_mailbox), coalesce(lower(applied_calendar), ''))
      IS DISTINCT FROM (lower(directory), lower(mailbox), coalesce(lower(calendar), ''))
"""


async def skip_numbers(connection: Connection) -> None:
    """Let nothing that is published from now on bear an id that something else was published under since the backup."""
    for query in _SKIP:
        await connection.execute(query)


async def doubt_creates(connection: Connection) -> int:
    """Have each entry that seems not to stand in its calendar looked for there first; gives how many there are."""
    moved = await connection.execute(_MOVED, GENERATIONS_SKIPPED)
    doubted = await connection.execute(_DOUBT, GENERATIONS_SKIPPED, LOOKED_UP_PER_S)
    return sum(int(done.rpartition(" ")[2]) for done in (moved, doubted))
