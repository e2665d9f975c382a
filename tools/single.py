#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The component as one file: quire.c, with quire.h for its callers.

    tools/single.py FOLDER SOURCE...      (make dist does it)

Headers go in once, where the first that includes them is. What is local to a source file
(static functions and variables, tags, enumerators, typedefs) gets the file's name in front if
another file has a name like it; macros of a source end with it.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEM = os.path.join(ROOT, "mem")
PUBLIC = ("config", "types", "cpumask", "host", "memmap", "pmm", "slab", "pt", "heap", "object", "vmm")
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)+\'|[A-Za-z_]\w*|\s+|.',
                   re.S)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"].*\n', re.M)
# The last argument of these is a member.
MEMBER = re.compile(r"(\b(?:list_entry|container_of|offsetof)\([^()]*(?:\([^()]*\)[^()]*)*,\s*)(\w+\))")
LICENCE = "/* SPDX-License-Identifier: MIT */\n"


def read(path):
    with open(os.path.join(MEM, path), encoding="utf-8") as handle:
        return handle.read().replace(LICENCE, "", 1)


def bare(source):
    """Without comments, literals and preprocessor lines."""
    source = re.sub(r"/\*.*?\*/|//[^\n]*", " ", source, flags=re.S)
    source = re.sub(r"(?m)^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", source)
    return re.sub(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)+\'', '""', source)


def name_before(text, mark):
    """The last identifier before the first `mark`."""
    found = re.findall(r"\w+", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", text).split(mark)[0])
    return found[-1] if found else None


def of_declaration(text, body):
    """Local names of one declaration at file scope; `body`: what its first braces hold."""
    text = re.sub(r"\b_Static_assert\b.*", "", text, flags=re.S)
    tag = re.match(r"\s*(?:static\s+)?(?:const\s+)?(struct|union|enum)\s+(\w+)?\s*\{", text)
    if tag:
        if tag.group(2):
            yield "tag " + tag.group(2)
        if tag.group(1) == "enum":
            yield from (e for e in re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\(.*?\)", "", body)))
    if re.match(r"\s*typedef\b", text):
        yield re.findall(r"\w+", text)[-1] if "(" not in text else \
            (re.search(r"\(\*(\w+)\)", text) or re.search(r"(\w+)\s*\(", text)).group(1)
    if not re.match(r"\s*(?:__attribute__\s*\(\(\w+\)\)\s*)?static\b", text):
        return
    rest = re.sub(r"\{\}", "", text)
    rest = re.sub(r"\b(?:MEM_\w+|__attribute__\s*\(\(.*?\)\)\)?)\s*(?=\w|;|\[|=|$)", "", rest)
    before = re.split(r"=", rest)[0]
    if "(" in before and not re.search(r"\(\*\s*\w+\)", before):
        yield name_before(before, "(")
    else:
        pointer = re.search(r"\(\*\s*(?:const\s+)?(\w+)", before)
        yield pointer.group(1) if pointer else name_before(before.split("[")[0], ";")


def local_names(source):
    depth, text, body = 0, "", ""
    for c in bare(source):
        if c == "{":
            text += "{" if depth == 0 else ""
            depth += 1
        elif c == "}":
            depth -= 1
            if depth == 0:
                text += "}"
                head = text.split("{")[0]
                if "(" in head and "=" not in head:  # a function
                    yield from of_declaration(head, "")
                    text = body = ""
        elif depth == 0 and c == ";":
            yield from of_declaration(re.sub(r"\{\}", "{}", text), body)
            text = body = ""
        elif depth == 0:
            text += c
        elif depth == 1 and text.count("{") == 1:
            body += c


def rename(source, names, tags, prefix):
    """Put `prefix` before these identifiers, where they are no members, and these tags."""
    out, last = [], ""
    source = MEMBER.sub(r"\1\0\2", source)
    for token in TOKEN.findall(source):
        tag = last in ("struct", "union", "enum")
        if token in (tags if tag else names) and last not in (".", ">", "\0"):
            token = prefix + token
        out.append(token)
        if not token.isspace() and not token.startswith("/*"):
            last = token if not (token == ">" and last != "-") else "greater"
    return "".join(out).replace("\0", "")


class Single:
    def __init__(self, sources):
        self.sources = sources
        self.seen = set()
        self.standard = set()

    def expand(self, text, depth, change=lambda own: own):
        """With private headers in place of their includes, and no others. `depth`: of #if, up to
        which an include is for everyone: the header goes in once. One below that goes in there,
        and again where it is wanted next; its guard keeps it from counting twice."""
        out, own = [], []
        for line in text.splitlines(keepends=True):
            word = re.match(r"[ \t]*#[ \t]*(if|endif)", line)
            if word:
                depth += -1 if word.group(1) == "if" else 1
            found = INCLUDE.match(line)
            if not found:
                own.append(line)
                continue
            kind, name = found.groups()
            if kind == "<" and not name.startswith("mem/"):
                self.standard.add(name)
            if kind == "<" or name in self.seen:
                continue
            out.append(change("".join(own)))
            own = []
            before = set(self.seen)
            self.seen.add(name)
            out.append(f"\n/* ======== {name} ======== */\n" + self.expand(read(name), 1))
            if depth < 0:
                self.seen = before
        out.append(change("".join(own)))
        return "".join(out)

    def header(self):
        parts = [self.expand(read(f"include/mem/{name}.h"), 1) for name in PUBLIC]
        standard = "".join(f"#include <{name}>\n" for name in sorted(self.standard))
        return (LICENCE + "/* Quire's memory manager: what callers and hosts see. Made of "
                "include/mem/. */\n#ifndef QUIRE_H\n#define QUIRE_H\n" + standard
                + "\n".join(parts) + "\n#endif\n")

    def source(self):
        text = {path: read(path) for path in self.sources}
        local = {path: set(filter(None, local_names(t))) for path, t in text.items()}
        words = {path: set(re.findall(r"[A-Za-z_]\w*", bare(t) + " ".join(
            re.findall(r"(?m)^[ \t]*#define(?:[^\n]*\\\n)*[^\n]*", t)))) for path, t in text.items()}
        out = [LICENCE + "/* Quire's memory manager in one file. Made of its sources, which are "
               "better to read. */\n#include \"quire.h\"\n"]
        for path in self.sources:
            clash = {n for n in local[path] if any(n.split()[-1] in words[o] for o in words if o != path)}
            names = {n for n in clash if " " not in n}
            tags = {n.split()[1] for n in clash if " " in n}
            prefix = re.sub(r"\W", "_", os.path.splitext(path)[0]) + "_"
            own = self.expand(text[path], 0, lambda t: rename(t, names, tags, prefix))
            out.append(f"\n/* ======== {path} ======== */\n{own}")
            macros = re.findall(r"(?m)^[ \t]*#[ \t]*define[ \t]+(\w+)", text[path])
            out.extend(f"#undef {m}\n" for m in dict.fromkeys(macros))
        return "".join(out)


def main():
    folder, sources = sys.argv[1], sys.argv[2:]
    single = Single(sources)
    os.makedirs(folder, exist_ok=True)
    for name, text in (("quire.h", single.header()), ("quire.c", single.source())):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as handle:
            handle.write(re.sub(r"\n{3,}", "\n\n", text))


if __name__ == "__main__":
    main()
