"""The type of a connection, whether taken from a pool or opened alone."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection as _Connection
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    Connection = _Connection[Record] | PoolConnectionProxy[Record]
else:
    from asyncpg import Connection

__all__ = ["Connection"]
