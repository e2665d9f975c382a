# SPDX-License-Identifier: MIT
"""Plain words in what adopters read: the public headers of mem/, the heads of its files, and
its documents.

The field has its own word for most things; ours are in TERMS beside it, and are found in
prose and in identifiers. A sentence has at most MOST words. What stays our own is in OWN, and
in the glossary.
"""
import re

MOST = 30  # words in a sentence
LATER = ()  # heads that are not reworded yet
GLOSSARY = "mem/docs/GLOSSARY.md"

# Ours, the field's; found in identifiers as one of their words, and in prose by PROSE below.
TERMS = {
    "hand": "magazine header", "gate": "busy guard", "part": "per-CPU cache",
    "room": "capacity, or what is free", "seal": "canary", "home": "backend",
    "lent": "borrowed", "lend": "borrow", "reach": "first use", "frontier": "initialised limit",
    "virgin": "never used", "restore": "recommit", "unit": "order-n block",
    "prepared": "reserve", "shortway": "fast path", "longway": "slow path",
}
# Identifiers that have one of these words in its plain meaning, and which that is.
EXCEPTIONS = {
    "part": ("vm_table_part_end set_part part_is_free lock_part claim_part mark_part free_part "
             "check_part drop_parts part PIECE_PART add_part", "a part of a range"),
    "unit": ("unit units unit_used unit_pages unit_page unit_of drop_unit_page add_unit_page "
             "UNIT_BYTES UNIT_PAGES heap_descriptor_units slab_units give_units take_units "
             "PEAK_UNIT", "64 bytes of a descriptor page; the unit of a number"),
    "room": ("room room_for_a_move find_room", "free addresses, or places in a page (mem/vm)"),
    "reach": ("reach direct_reach", "how far the direct map goes; where a mapper may map"),
    "restore": ("host_irq_restore", "an interrupt state, as Linux calls it"),
}
# The same in sentences.
PROSE = {
    r"\bat hand\b": "cached on this CPU",
    r"(?:short|long) way": "fast or slow path",
    r"\bseals?\b": "canary",
    r"prepared pages?": "reserve pages",
    r"\bvirgin\b": "never used",
    r"\bfrontier\b": "initialised limit",
    r"\b(?:lent|lends?|lending)\b": "borrow",
    r"(?<!interrupt )(?<!trap )\bgates?\b": "busy guard",
    r"\brestor(?:e|es|ed|ing)\b(?! interrupts)": "recommit",
    r"\bdrops? (?:and restores?|pages|parts|memory)\b|\bdropping pages\b": "decommit",
    r"(?<![>`_.])\bcpus\b(?![`_])": "per-CPU caches",
    r"\bpromises? memory\b": "map a range",
    r"\bthe slot of (?:a|the) CPU\b": "the per-CPU frame cache",
}
# Ours, and kept: no word of the field's says it.
OWN = ("run", "promise", "backing", "gather", "covering table", "edit", "mapper", "zap", "limbo",
       "initialised limit", "dense number", "private word", "freeze", "kernel area", "settle",
       "quarantine", "wait", "reap", "drain", "borrow", "busy guard", "frame record")


def comments(source):
    """(line, text) of each block comment, without its stars."""
    for m in re.finditer(r"/\*(.*?)\*/", source, re.S):
        line = source.count("\n", 0, m.start()) + 1
        yield line, "\n".join(re.sub(r"^\s*\*? ?", "", l) for l in m.group(1).split("\n"))


def head(source):
    """The comment that a file begins with, behind the licence."""
    return [c for c in comments(source) if "SPDX" not in c[1]][:1]


def paragraphs(text):
    """Prose only: lines that are indented, or have columns or arrows, are drawings."""
    block = []
    for line in [*text.split("\n"), ""]:
        drawing = re.match(r"\s{3,}\S", line) or re.search(r"\S {3,}\S|[|─│+]--|-->", line)
        if not line.strip() or drawing:
            if block:
                yield " ".join(block)
            block = []
            continue
        if re.match(r"\s*([-*]|\d+\.?|[A-Z]\d+\.?)\s", line) and block:
            yield " ".join(block)
            block = []
        block.append(line.strip())


def sentences(text):
    """An end is a full stop, a colon or a semicolon before a capital, or before a name."""
    for paragraph in paragraphs(text):
        yield from re.split(r"(?<=[.!?:;])\s+(?=[A-Z`(*]|$)|(?<=\.\))\s+|(?<=[\w)]{2}\.)\s+(?=[a-z_`])",
                            paragraph)


def long_sentences(text):
    """(number of words, sentence) of those that have to be read twice."""
    for sentence in sentences(text):
        words = [w for w in sentence.split() if re.search(r"\w", w)]
        if len(words) > MOST:
            yield len(words), sentence


def private_prose(text):
    """(what it says, the field's words)."""
    plain = " ".join(paragraphs(text))
    for pattern, better in PROSE.items():
        for m in re.finditer(pattern, plain):
            yield m.group(), better


def without_context(header):
    """Functions of a header whose comment, or that of their group, names no context."""
    said = ""
    prototype = (r"^(?!static|typedef|#|extern|struct \w+ \{|enum|MEM_BEGIN|MEM_END)[A-Za-z_]"
                 r"[^;{}#]*?\b(\w+)\([^;{}]*\)[^;{}]*;")
    for m in re.finditer(rf"^/\*.*?\*/|{prototype}", header, re.S | re.M):
        if m.group().startswith("/*"):
            said = m.group()
        elif not re.search(r"[Cc]ontext", said):
            yield m.group(1)


def private_identifiers(source):
    """(identifier, the field's word), for code without its comments and strings."""
    code = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\]|\\.)*"', " ", source, flags=re.S)
    for name in sorted(set(re.findall(r"[A-Za-z_]\w+", code))):
        for word in name.lower().split("_"):
            word = word if word in TERMS else word.rstrip("s")
            if word in TERMS and name not in EXCEPTIONS.get(word, ("",))[0].split():
                yield name, TERMS[word]
