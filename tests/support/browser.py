"""A browser without scripts: it follows links and redirects, keeps cookies, and fills the forms it is shown.

It knows nothing of the pages' addresses or fields: what it sends is what stands in the HTML.
"""

import re
import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import aiohttp
from yarl import URL


@dataclass
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    ticks: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text: list[str] = []
        self.title = ""
        self._tag = ""
        self._button: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given["action"]))
        elif tag == "input" and given.get("type") == "checkbox":
            self.forms[-1].ticks[given["name"]] = given["value"]
        elif tag == "input":
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "button":
            self._button = (given.get("name", ""), given.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self._tag in ("title", "style", "script"):
            self.title = data if self._tag == "title" else self.title
            return
        self.text.append(data)
        if self._button is not None:
            self.forms[-1].buttons.append((*self._button, data))
            self._button = None


@dataclass
class Page:
    """What the person sees."""

    status: int
    url: URL
    html: str
    headers: Any

    def __post_init__(self) -> None:
        reader = _Reader()
        reader.feed(self.html)
        self.forms, self.text = reader.forms, " ".join(reader.text)
        self.title = reader.title

    @property
    def codes(self) -> list[int]:
        """The error numbers that are written on it."""
        return [int(code) for code in re.findall(r"AADSTS(\d+)", self.text)]


@dataclass
class Callback:
    """An answer on its way to the application: as a redirect, or in a form that the page would post."""

    address: str
    parameters: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.parameters[name]


class Browser:
    """One person's browser, with its own cookies. `own` are the addresses it goes to; others it only reports."""

    def __init__(self, http: aiohttp.ClientSession, own: str) -> None:
        self._http = http
        self._own = own

    async def go(self, url: str) -> Page | Callback:
        return await self._request("GET", URL(url, encoded=True))

    async def press(self, page: Page, button: str, *, tick: tuple[str, ...] = (), **typed: str) -> Page | Callback:
        """Presses the button whose label begins so, with the form filled as told and otherwise as it was shown."""
        for form in page.forms:
            for name, value, label in form.buttons:
                if label.startswith(button):
                    assert set(typed) <= set(form.fields), form.fields
                    sent = {**form.fields, **typed, **{mark: form.ticks[mark] for mark in tick}}
                    if name:
                        sent[name] = value
                    return await self._submit(page, form.action, sent)
        raise AssertionError(f"There is no button {button!r} on: {page.text}")

    async def _submit(self, page: Page, action: str, sent: dict[str, str]) -> Page | Callback:
        target = urllib.parse.urljoin(str(page.url), action)
        if not target.startswith(self._own):
            return Callback(target, sent)
        return await self._request("POST", URL(target, encoded=True), sent)

    async def _request(self, method: str, url: URL, sent: dict[str, str] | None = None) -> Page | Callback:
        async with self._http.request(method, url, data=sent, allow_redirects=False) as response:
            if response.status in (302, 303):
                address, mark, query = re.split(r"([?#])", response.headers["Location"], maxsplit=1)
                assert not address.startswith(self._own)
                pairs = urllib.parse.parse_qsl(query, strict_parsing=True, keep_blank_values=True)
                assert mark
                return Callback(address, dict(pairs))
            return Page(response.status, url, await response.text(), response.headers)
