# SPDX-License-Identifier: MIT
"""The pictures of benchmark runs: a bar a row, and its goal a line.

What draw() draws is how much of its goal a row uses: 100 % is the goal, shorter is
better. Rows are so different in kind (ratios, bytes, milliseconds) that only this
has one scale for all. Colours follow the reader's light or dark background.
"""

import html

WIDTH, LEFT, BAR, RIGHT = 920, 300, 380, 240
LINE, TOP = 22, 64
MOST = 2.0  # bars end here, at twice the goal

STYLE = """
text { font: 13px 'DejaVu Sans', Verdana, sans-serif; fill: #24292f; }
.small { font-size: 11px; fill: #57606a; }
.head { font-weight: bold; }
.ground { fill: #ffffff; stroke: #d0d7de; }
.ok { fill: #2f81c8; } .miss { fill: #d1603d; } .skip { fill: #8c959f; }
.goal { stroke: #24292f; stroke-width: 1.5; stroke-dasharray: 4 3; }
.track { fill: #eaeef2; } .over { font-size: 11px; fill: #ffffff; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .small { fill: #9198a1; }
.ground { fill: #0d1117; stroke: #3d444d; }
.ok { fill: #4493f8; } .miss { fill: #f0883e; } .skip { fill: #656c76; }
.goal { stroke: #e6edf3; } .track { fill: #1f2630; } .over { fill: #0d1117; }
}
"""


def _used(result):
    """The part of the goal that is used: 1 is the goal itself."""
    value = result["judged"]
    if result["sense"] == "min":
        return result["goal"] / value if value > 0 else MOST
    return max(value, 0) / result["goal"]


def _number(value):
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _says(result):
    if result["status"] == "SKIP":
        return f"not measured: {result['reason']}"[:44]
    sign = "≥" if result["sense"] == "min" else "≤"
    unit = f" {result['unit']}" if result["unit"] else ""
    if result["ratio"] is None:
        return f"{_number(result['ours'])}{unit}, goal {sign} {result['goal']:g}"
    return f"{_number(result['ratio'])} × {_number(result['peer'])}{unit}, " \
           f"goal {sign} {result['goal']:g}"


def _text(x, y, text, kind="", anchor="start"):
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _head(height, title, below):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}">', f"<style>{STYLE}</style>",
            f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" '
            'rx="6"/>', _text(16, 26, title, "head"), _text(16, 44, below, "small")]


def _bar(y, kind, part):
    """A bar of this part of the whole length on its track; None: only the track."""
    out = [f'<rect class="track" x="{LEFT}" y="{y + 3}" width="{BAR}" height="16" rx="2"/>']
    if part is not None:
        out.append(f'<rect class="{kind}" x="{LEFT}" y="{y + 3}" '
                   f'width="{max(part * BAR, 2):.1f}" height="16" rx="2"/>')
    return out


def draw(document):
    """The SVG of a run, as one string."""
    rows = document["rows"]
    height = TOP + LINE * len(rows) + 34
    goal = LEFT + BAR / MOST
    out = _head(height, "How much of its goal each row uses: shorter is better",
                f"{document['date']}, {document['machine']}")
    out.append(_text(goal, TOP - 6, "goal", "small", "middle"))
    for i, result in enumerate(rows):
        y = TOP + LINE * i
        part, _, name = result["row"].partition("/")
        kind = {"pmm": "frames", "heap": "heap"}.get(part, part)
        out.append(_text(LEFT - 10, y + 15, f"{kind}: {result['title'] or name}", "", "end"))
        used = None if result["judged"] is None else min(_used(result), MOST) / MOST
        out += _bar(y, result["status"].lower(), used)
        if used is not None:
            if _used(result) > MOST:
                out.append(_text(LEFT + BAR - 4, y + 15, f"× {_number(_used(result))}", "over",
                                 "end"))
        out.append(_text(LEFT + BAR + 10, y + 15, _says(result), "small"))
    out.append(f'<line class="goal" x1="{goal}" x2="{goal}" y1="{TOP}" '
               f'y2="{TOP + LINE * len(rows)}"/>')
    out.append(_text(16, height - 14, "Ratios are to the peer in the same run; bars end at twice "
                     "the goal.", "small"))
    return "\n".join(out + ["</svg>\n"])


def draw_ratios(document):
    """Quire ÷ Linux of each row (tools/bench_vm.py): shorter is better, the whole width is as
    many instructions as Linux needs."""
    rows = document["rows"]
    height = TOP + LINE * len(rows) + 34
    out = _head(height, "Instructions of an operation: Quire ÷ Linux",
                f"{document['date']}, {document['kernel']}, {document['tools']['qemu']}")
    out.append(_text(LEFT + BAR, TOP - 6, "as many as Linux", "small", "middle"))
    for i, row in enumerate(rows.values()):
        y = TOP + LINE * i
        ratio, goal = row["quire"] / row["linux"], LEFT + BAR * row["goal"] / row["linux"]
        out.append(_text(LEFT - 10, y + 15, row["title"], "", "end"))
        out += _bar(y, "ok" if row["quire"] <= row["goal"] else "miss", min(ratio, 1))
        out.append(f'<line class="goal" x1="{goal:.1f}" x2="{goal:.1f}" y1="{y + 2}" '
                   f'y2="{y + 20}"/>')
        out.append(_text(LEFT + BAR + 10, y + 15,
                         f"{ratio:.2f}: {row['quire']:,} to {row['linux']:,}", "small"))
    out.append(_text(16, height - 14, "The broken lines are the goals; bars that reach theirs are "
                     "blue.", "small"))
    return "\n".join(out + ["</svg>\n"])
