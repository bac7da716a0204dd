"""Owns reading links, headings and code out of Markdown; must not know what they should say."""

import re
from collections.abc import Iterator
from pathlib import Path

FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def relative_links(text: str) -> Iterator[str]:
    """Yield the targets of links that point into the repository, code left out."""
    prose = CODE_SPAN.sub("", FENCE.sub("", text))
    for pattern in (LINK, REFERENCE):
        for match in pattern.finditer(prose):
            if not EXTERNAL.match(match[1]):
                yield match[1]


def anchors(text: str) -> set[str]:
    """Return the anchors that headings get on a code host, repeated ones numbered."""
    found: set[str] = set()
    for match in HEADING.finditer(FENCE.sub("", text)):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).lower()
        slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        repeats = 0
        while (name := f"{slug}-{repeats}" if repeats else slug) in found:
            repeats += 1
        found.add(name)
    return found


def code_lines(text: str) -> Iterator[str]:
    """Yield the lines of fenced code, prompts removed and continued lines joined."""
    for match in FENCE.finditer(text):
        for line in match[2].replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ")


def code(text: str) -> Iterator[str]:
    """Yield every piece of code: the lines of fences, then the spans in prose."""
    yield from code_lines(text)
    for match in CODE_SPAN.finditer(FENCE.sub("", text)):
        yield match[1]


def missing_link(page: Path, target: str) -> bool:
    """Tell whether a relative link of a page leads nowhere, file or heading."""
    path_part, _, anchor = target.partition("#")
    path = (page.parent / path_part).resolve() if path_part else page
    if not path.exists():
        return True
    return bool(anchor) and path.suffix == ".md" and anchor not in anchors(path.read_text())
