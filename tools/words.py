# SPDX-License-Identifier: MIT
"""Plain words in what adopters read: the public headers of mem/ and the heads of its files.

`long_sentences()` finds sentences that have to be read twice, `private_words()` words of ours
where the field has its own.
"""
import re

MOST = 30  # words in a sentence


def comments(source):
    """(line, text) of each block comment, without its stars; drawings are left out."""
    for m in re.finditer(r"/\*(.*?)\*/", source, re.S):
        line = source.count("\n", 0, m.start()) + 1
        text = "\n".join(re.sub(r"^\s*\*? ?", "", l) for l in m.group(1).split("\n"))
        yield line, text


def head(source):
    """The comment that a file begins with, behind the licence."""
    found = list(comments(source))
    return found[1:2] if found and "SPDX" in found[0][1] else found[:1]


def paragraphs(text):
    """Prose only: a line that is indented, or a table's, is a drawing or a list."""
    block = []
    for line in [*text.split("\n"), ""]:
        if not line.strip() or re.match(r"\s{3,}\S", line) or re.search(r"\S {3,}\S|[|─│+]--|-->", line):
            if block:
                yield " ".join(block)
            block = []
            continue
        if re.match(r"\s*([-*]|\d+\.?|[A-Z]\d+\.?)\s", line) and block:
            yield " ".join(block)
            block = []
        block.append(line.strip())


def sentences(text):
    for paragraph in paragraphs(text):
        yield from re.split(r"(?<=[.!?:;])\s+(?=[A-Z`(*]|$)|\.\)\s+|(?<=\.)\s+(?=[a-z_`]+\()", paragraph)


def long_sentences(text):
    for sentence in sentences(text):
        words = [w for w in re.split(r"\s+", sentence) if re.search(r"\w", w)]
        if len(words) > MOST:
            yield len(words), sentence
