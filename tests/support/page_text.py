"""A report's page as text: its blocks, tables and the numbers in them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

BLOCKS = frozenset(
    {
        *("body", "main", "section", "article", "header", "footer", "nav", "div", "figure", "p"),
        *("table", "caption", "tr", "th", "td", "figcaption", "dl", "dt", "dd", "ol", "ul", "li"),
        *("details", "summary", "h1", "h2", "h3", "h4", "h5", "pre", "button", "label"),
        *("option", "legend", "title"),
    }
)
EMPTY = frozenset({"meta", "link", "img", "br", "wbr", "input"})
UNSEEN = frozenset({"script", "style", "noscript", "head"})
NUMBER = re.compile(r"[\w.\-+]*\d[\w.,\-+]*")


@dataclass(eq=False)
class Element:
    """One element of the page."""

    tag: str
    attributes: dict[str, str]
    above: "Element | None" = field(default=None, repr=False)
    within: list["Element | str"] = field(default_factory=list)

    def all(self, tag: str, css: str = "") -> list["Element"]:
        """The elements below it of a tag, and of a class where one is given."""
        return [e for e in self.walk() if e.tag == tag and (not css or css in e.classes)]

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def walk(self) -> Iterator["Element"]:
        """All that a reader sees below it, in order."""
        for each in self.within:
            if isinstance(each, Element) and each.tag not in UNSEEN:
                yield each
                yield from each.walk()

    @property
    def own(self) -> str:
        """Its text without that of blocks within it; spaces as one."""
        return " ".join("".join(self._own()).split())

    def _own(self) -> Iterator[str]:
        for each in self.within:
            if isinstance(each, str):
                yield each
            elif each.tag == "br":
                yield " "
            elif each.tag not in BLOCKS and each.tag not in UNSEEN:
                yield from each._own()

    @property
    def within_cells(self) -> list["Element"]:
        """The cells of a row."""
        return [e for e in self.within if isinstance(e, Element) and e.tag in ("td", "th")]

    @property
    def cells(self) -> list[str]:
        """The texts of a row."""
        return [cell.own for cell in self.within_cells]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Element("", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.within.append(element)
        if tag not in EMPTY:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.here.within.append(Element(tag, {n: v or "" for n, v in attrs}, self.here))

    def handle_endtag(self, tag: str) -> None:
        if tag in EMPTY:
            return
        assert self.here.tag == tag, f"</{tag}> ends <{self.here.tag}>"
        assert self.here.above is not None
        self.here = self.here.above

    def handle_data(self, data: str) -> None:
        self.here.within.append(data)


def read_page(html: str) -> Element:
    """The body of a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    (body,) = reader.root.all("body")
    return body


def blocks(body: Element) -> Iterator[Element]:
    """Every block that a reader sees, in order."""
    return (element for element in body.walk() if element.tag in BLOCKS)


def numbers(text: str, constant: Sequence[str] = ()) -> list[str]:
    """The numbers of a text, and the names that have a digit; without phrases that are constant."""
    text = text.replace("\N{MINUS SIGN}", "-")
    for phrase in constant:
        text = re.sub(phrase, " ", text)
    return [found.rstrip(".,") for found in NUMBER.findall(text)]
