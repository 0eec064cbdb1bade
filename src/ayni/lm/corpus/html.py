"""Text out of HTML: blocks as paragraphs, no scripts, styles or page furniture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ayni.lm.corpus import rules
from ayni.lm.corpus.documents import Unreadable

_DROPPED = frozenset({
    "head", "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "nav",
    "form", "button", "select", "textarea",
})  # fmt: skip
_INLINE = frozenset({
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em",
    "font", "i", "ins", "kbd", "mark", "q", "rb", "rt", "ruby", "s", "samp", "small", "span",
    "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr", "img", "label",
})  # fmt: skip
_SPACE = re.compile(r"[ \t\n\r\f]+")
_GAPS = re.compile(r"\n{2,}")
_CHARSET = re.compile(
    rb"""<meta[^>]{0,200}?charset\s{0,9}=\s{0,9}["']?([\w-]{2,30})""", re.IGNORECASE
)
_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)")
#: What is never closed, or closed by its like.
_SELF_CLOSING = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "param",
})  # fmt: skip
MAX_DEPTH = 5000  # elements within each other: parsing is quadratic in it
_HEAD = 4096  # bytes in which a page says its encoding


@dataclass(frozen=True, slots=True)
class Part:
    """A page, or one article of it. `language` as the page says it; `number` counts articles from 1."""

    text: str
    language: str | None
    number: int


def decode(data: bytes, encoding: str) -> str:
    """A page's characters, by what it says of itself, else by `encoding`.

    Raises:
        Unreadable: the bytes are not in that encoding.
    """
    name = encoding
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        name = "utf-16"
    elif data[:3] != b"\xef\xbb\xbf" and (said := _CHARSET.search(data[:_HEAD])):
        try:
            name = rules.codec(said[1].decode())
        except ValueError as error:
            raise Unreadable(f"the page names its encoding: {error}") from error
    try:
        return data.decode(name)
    except (UnicodeDecodeError, LookupError) as error:
        raise Unreadable(f"not in {name} ({error}); name it with --rule encoding=NAME") from error


def parts(page: str, by_article: bool) -> Iterator[Part]:
    """The page's text; by article, what stands outside of articles comes first, as number 0.

    Raises:
        Unreadable: elements nested deeper than any page nests them.
    """
    if _depth(page) > MAX_DEPTH:
        raise Unreadable(f"elements nested more than {MAX_DEPTH} deep; this is no page")
    tree = LexborHTMLParser(page)
    root, body = tree.root, tree.body
    if root is None or body is None:
        return
    language = _language(body) or _language(root)
    articles = []
    if by_article:
        articles = [node for node in tree.css("article") if not _within_article(node)]
    apart = frozenset(node.mem_id for node in articles)
    yield Part(_text(body, apart), language, 0)
    for number, node in enumerate(articles, start=1):
        yield Part(_text(node), _language(node) or language, number)


def _depth(page: str) -> int:
    if page.count("<") <= MAX_DEPTH:
        return 0
    deepest = depth = 0
    for end, name in _TAG.findall(page):
        if name.lower() not in _SELF_CLOSING:
            depth = max(0, depth - 1) if end else depth + 1
            deepest = max(deepest, depth)
    return deepest


def _language(node: LexborNode) -> str | None:
    said: str | None = node.attributes.get("lang") or node.attributes.get("xml:lang")
    return said


def _within_article(node: LexborNode) -> bool:
    above = node.parent
    while above is not None:
        if above.tag == "article":
            return True
        above = above.parent
    return False


def _text(top: LexborNode, apart: frozenset[int] = frozenset()) -> str:
    """What stands beneath a node, without the nodes `apart`. No recursion: pages may be deep."""
    found: list[str] = []
    node: LexborNode | None = top
    while node is not None:
        if node.is_text_node:
            found.append(_spaced(node))
        elif node.tag == "br":
            found.append("\n")
        below = None if _left_out(node, apart) else node.child
        if below is None:
            node = _after(node, top, found)
        else:
            _edge(node, found)
            node = below
    lines = (line.strip() for line in "".join(found).split("\n"))
    return _GAPS.sub("\n\n", "\n".join(lines)).strip()


def _after(node: LexborNode, top: LexborNode, found: list[str]) -> LexborNode | None:
    """The next node in the order of the page, once `node` and all beneath it were read."""
    at: LexborNode | None = node
    while at is not None:
        _edge(at, found)
        if at.mem_id == top.mem_id:
            return None
        if at.next is not None:
            return at.next
        at = at.parent
    return None


def _edge(node: LexborNode, found: list[str]) -> None:
    if node.is_element_node and node.tag not in _INLINE and node.tag != "br":
        found.append(" " if node.tag in ("td", "th") else "\n\n")


def _left_out(node: LexborNode, apart: frozenset[int]) -> bool:
    return node.tag in _DROPPED or (bool(apart) and node.mem_id in apart)


def _spaced(node: LexborNode) -> str:
    words = node.text_content or ""
    return words if node.parent is not None and node.parent.tag == "pre" else _SPACE.sub(" ", words)
