"""What a page is made of, by the standard library's parser."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)


class Page(HTMLParser):
    """Checks that tags close in order; gathers ids, links, scripts and what style there is inline."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.lang = ""
        self.fields: list[dict[str, str]] = []
        self.labelled: set[str] = set()
        self.feed(text)
        self.close()
        if self.open:
            self.faults.append(f"never closed: {self.open}")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self._note(tag, values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._note(tag, {name: value or "" for name, value in attributes})

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()} closes something else")

    def _note(self, tag: str, values: dict[str, str]) -> None:
        if tag == "html":
            self.lang = values.get("lang", "")
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "label":
            self.labelled.add(values.get("for", ""))
        if tag in ("input", "select") and values.get("type") != "hidden":
            self.fields.append(values)
        if tag == "style" or "style" in values or (tag == "script" and "src" not in values):
            self.inline.append(f"{tag} {values}")
        self.inline += [f"{tag} {name}" for name in values if name.startswith("on")]
