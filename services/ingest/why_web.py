"""`GET /why/…` on ingest's admin port: the story of an item, as JSON."""

import asyncpg
import orjson
from aiohttp import web

from services.ingest.why import story_of
from services.ingest.why_facts import ItemName, NamedOddlyError, facts_about


class WhyRoutes:
    """`/why/ID` and `/why/TENANT/SOURCE/KIND/ID`, with `?assignee=USER` for one assignee only.

    200 with the stories of the items of that name, none if there is no such item; 400 for a name that is not
    understood; 503 while the database is not open, which it is once `pool` is set.
    """

    def __init__(self) -> None:
        self.pool: asyncpg.Pool | None = None
        self.routes = [web.get("/why/{name:.+}", self._why)]

    async def _why(self, request: web.Request) -> web.Response:
        if self.pool is None:
            return _json({"error": "the database is not open yet"}, 503)
        try:
            name = ItemName(request.match_info["name"])
        except NamedOddlyError as error:
            return _json({"error": str(error)}, 400)
        facts, letters = await facts_about(self.pool, name)
        stories = [story_of(one, request.query.get("assignee")) for one in facts]
        return _json({"items": stories, "unread": letters if not stories else []}, 200)


def _json(answer: object, status: int) -> web.Response:
    return web.Response(body=orjson.dumps(answer), content_type="application/json", status=status)
