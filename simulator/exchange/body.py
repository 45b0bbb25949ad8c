"""The body of an event: Exchange stores HTML of its own making whatever it was sent, and shows text on request.

Callers therefore never get back the bytes they sent. Source: Microsoft docs "event-get".
"""

import html
import re
from html.parser import HTMLParser
from typing import Any, NamedTuple

from simulator.errors import unknown_property, unreadable_body

PREVIEW_MAX_CHARS = 255

_TEXT_HEAD = (
    '<html>\r\n<head>\r\n<meta http-equiv="Content-Type" content="text/html; charset=utf-8">\r\n'
    '<meta name="Generator" content="Microsoft Exchange Server">\r\n<!-- converted from text -->\r\n'
    "<style><!-- .EmailQuote { margin-left: 1pt; padding-left: 4pt; border-left: #800000 2px solid; } --></style>"
    '</head>\r\n<body>\r\n<font size="2"><span style="font-size:11pt;"><div class="PlainText">'
)
_TEXT_TAIL = "</div></span></font>\r\n</body>\r\n</html>\r\n"
_HTML_HEAD = '<html><head>\r\n<meta http-equiv="Content-Type" content="text/html; charset=utf-8"></head><body>'
_HTML_TAIL = "</body></html>"
_UNSAFE = re.compile(r"<(script|iframe|object)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_HANDLER = re.compile(r"""(<[^>]*?)\son\w+\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)""", re.IGNORECASE)
_BODY = re.compile(r"<body\b[^>]*>(.*?)(?:</body\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_HEAD = re.compile(r"<head\b.*?</head\s*>|</?html\b[^>]*>|<!doctype[^>]*>", re.DOTALL | re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
_BLOCK_TAGS = frozenset({"p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol"})


class Body(NamedTuple):
    """One content, two renderings."""

    html: str
    text: str

    @property
    def preview(self) -> str:
        """The first 255 characters of the text."""
        return self.text[:PREVIEW_MAX_CHARS]


EMPTY = Body("", "")


class _TextOf(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in ("style", "title"):
            self._hidden += 1
        elif tag == "br":
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "title"):
            self._hidden = max(0, self._hidden - 1)
        elif tag in _BLOCK_TAGS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(re.sub(r"[ \t\r\n]+", " ", data))


def from_text(text: str) -> Body:
    """A body that was sent as text."""
    if not text:
        return EMPTY
    lines = _LINE_END.split(text)
    escaped = "<br>\r\n".join(html.escape(line, quote=False) for line in lines)
    return Body(f"{_TEXT_HEAD}{escaped}{_TEXT_TAIL}", "\r\n".join(lines))


def from_html(markup: str) -> Body:
    """A body that was sent as HTML: scripts, handlers and comments go, the frame is Exchange's own."""
    if not markup:
        return EMPTY
    safe = _UNSAFE.sub("", markup)
    safe = _HANDLER.sub(r"\1", safe)
    found = _BODY.search(safe)
    inner = found.group(1) if found else _HEAD.sub("", safe)
    inner = "\r\n".join(_LINE_END.split(inner))
    reader = _TextOf()
    reader.feed(inner)
    reader.close()
    lines = [line.strip(" ") for line in "".join(reader.parts).strip().split("\n")]
    return Body(f"{_HTML_HEAD}{inner}{_HTML_TAIL}", "\r\n".join(lines))


def read_body(name: str, value: Any) -> Body:
    """An `itemBody` from a request; `contentType` is text unless it says html."""
    if value is None:
        return EMPTY
    if type(value) is not dict:
        raise unreadable_body(f"The property '{name}' needs an object with 'contentType' and 'content'.")
    for member in value:
        if member not in ("contentType", "content") and "@" not in member:
            raise unknown_property(member, "microsoft.graph.itemBody")
    # Microsoft's own examples write this enumeration in either case.
    kind = str(value.get("contentType") or "text").lower()
    content = value.get("content") or ""
    if type(content) is not str:
        raise unreadable_body(f"Cannot convert the value of '{name}.content' to the expected type 'Edm.String'.")
    if kind == "text":
        return from_text(content)
    if kind == "html":
        return from_html(content)
    raise unreadable_body(f"Requested value '{kind}' was not found.")
