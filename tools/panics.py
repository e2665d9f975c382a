# SPDX-License-Identifier: MIT
"""The texts with which mem/ stops or refuses, as the source has them.

`texts()` finds the literals; each printf conversion in them becomes an ellipsis, as
mem/docs/PANICS.md writes it.
"""
import re

# Who is given a text.
CALLS = ("host_panic", "mem_contract", "mem_refuse", "pmm_free_panic", "slab_bad_block",
         "slab_assert_in_use", "check_bytes")
# Files whose literals are sentences that end up in one of these calls.
SENTENCES = ("mem/vm/machine.c",)
STRING = r'"(?:[^"\\]|\\.)*"'


def without_comments(source):
    pattern = re.compile(rf"{STRING}|/\*.*?\*/|//[^\n]*|'(?:[^'\\]|\\.)'", re.S)
    return pattern.sub(lambda m: m.group() if m.group()[0] == '"' else " ", source)


def arguments(source, at):
    """Those of the call whose opening parenthesis is at `at`."""
    depth, out, start = 0, [], at + 1
    for m in re.finditer(rf"{STRING}|[(){{}},]", source[at:]):
        token, end = m.group(), at + m.end()
        if token in "({":
            depth += 1
        elif token in ")}":
            depth -= 1
        if (token == "," and depth == 1) or depth == 0:
            out.append(source[start:end - 1])
            start = end
        if depth == 0:
            return out
    return out


def plain(literals):
    text = "".join(s[1:-1] for s in literals).replace('\\"', '"')
    return re.sub(r"%[-0-9.]*(?:ll|l)?[a-z]", "…", text)


def of_argument(argument):
    """A literal of several pieces, or those that a condition chooses between."""
    for part in re.split(r"[?:](?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", argument):
        literals = re.findall(STRING, part)
        if literals:
            yield plain(literals)


def texts(files, read):
    """(file, text) of all of them; texts that consist of conversions only are left out."""
    for path in files:
        source = without_comments(read(path))
        found = []
        for m in re.finditer(r"\b(%s)\(" % "|".join(CALLS), source):
            for argument in arguments(source, m.end() - 1):
                found += of_argument(argument)
        if path in SENTENCES:
            code = re.sub(r"#include[^\n]*", "", source)
            found += (plain(re.findall(STRING, s))
                      for s in re.findall(rf"(?:{STRING}\s*)+", code))
        for text in found:
            if re.search(r"[a-z]{3}", text):
                yield path, text


def shape(text):
    """What such a text looks like when it is printed."""
    return re.compile(".*".join(map(re.escape, text.split("…"))))
