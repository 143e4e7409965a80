"""What other programs read in a prompt: their grammars, restated, so that tests can ask what becomes of ours.

Read in comfy/sd1_clip.py of ComfyUI 0.3, and in modules/prompt_parser.py and modules/extra_networks.py of A1111 1.10.
"""

import re
from contextlib import suppress
from dataclasses import dataclass

Weighted = list[tuple[str, float]]  # parts of a text and how strongly they count


@dataclass(frozen=True)
class Read:
    """What a program makes of a prompt."""

    text: Weighted
    networks: tuple[str, ...] = ()  # A1111's `<name:arguments>`


# --- ComfyUI


def comfyui(prompt: str) -> Read:
    """Parentheses weigh, `\\(` and `\\)` are letters, nothing else has a meaning."""
    hidden = prompt.replace("\\)", "\0c").replace("\\(", "\0o")
    shown = [(part.replace("\0c", ")").replace("\0o", "("), weight) for part, weight in in_parentheses(hidden, 1.0)]
    return Read(merged(shown))


def in_parentheses(text: str, weight: float) -> Weighted:
    parts: Weighted = []
    for part in outer_parts(text):
        if len(part) < 2 or (part[0], part[-1]) != ("(", ")"):
            parts.append((part, weight))
            continue
        inner, own = part[1:-1], weight * 1.1
        before, colon, number = inner.rpartition(":")
        if before and colon:
            with suppress(ValueError):
                own, inner = float(number), before
        parts += in_parentheses(inner, own)
    return parts


def outer_parts(text: str) -> list[str]:
    """The text cut at its outermost parentheses."""
    parts, current, depth = [], "", 0
    for letter in text:
        if letter == "(":
            if depth == 0 and current:
                parts.append(current)
                current = ""
            depth += 1
        current += letter
        if letter == ")":
            depth -= 1
            if depth == 0:
                parts.append(current)
                current = ""
    return [*parts, current] if current else parts


# --- A1111 and Forge

LETTERS = re.compile(r"\\\(|\\\)|\\\[|\\]|\\\\|\\|\(|\[|:([+-]?[.\d]+)\)|\)|]|[^\\()\[\]:]+|:")
NETWORK = re.compile(r"<(\w+):([^>]+)>")
PROMPT_WEIGHT = re.compile(r"^(\s*.*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$")
BARE_BRACKET = re.compile(r"(?<!\\)(?:\\\\)*\[")  # schedules and alternations stand in bare brackets


def a1111(prompt: str) -> Read:
    """Extra networks leave the prompt, `AND` divides it, a number at its end weighs it, brackets and parentheses weigh
    words, and a backslash makes the next bracket, parenthesis or backslash a letter."""
    networks = tuple(match[0] for match in NETWORK.finditer(prompt))
    rest = NETWORK.sub("", prompt)
    assert not BARE_BRACKET.search(rest), "a schedule or an alternation"
    text: Weighted = []
    for part in re.split(r"\bAND\b", rest):
        match = PROMPT_WEIGHT.search(part)
        own, number = match.groups() if match else (part, None)
        text += [(words, weight * float(number or 1)) for words, weight in attention(own)] + [("", 0.0)]
    return Read(merged(text[:-1]), networks)


def attention(text: str) -> Weighted:
    found: list[list] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(start: int, factor: float) -> None:
        for place in range(start, len(found)):
            found[place][1] *= factor

    for match in LETTERS.finditer(text):
        piece, number = match[0], match[1]
        if piece.startswith("\\"):
            found.append([piece[1:], 1.0])
        elif piece in opened:
            opened[piece].append(len(found))
        elif number is not None and opened["("]:
            weigh(opened["("].pop(), float(number))
        elif piece == ")" and opened["("]:
            weigh(opened["("].pop(), 1.1)
        elif piece == "]" and opened["["]:
            weigh(opened["["].pop(), 1 / 1.1)
        else:
            for place, words in enumerate(re.split(r"\s*\bBREAK\b\s*", piece)):
                found += [["BREAK", -1.0]] * bool(place) + [[words, 1.0]]
    for start in opened["("]:
        weigh(start, 1.1)
    for start in opened["["]:
        weigh(start, 1 / 1.1)
    return [(words, weight) for words, weight in found]


def merged(parts: Weighted) -> Weighted:
    """Neighbours of one weight as one part."""
    whole: Weighted = []
    for text, weight in parts:
        if whole and whole[-1][1] == weight:
            whole[-1] = (whole[-1][0] + text, weight)
        else:
            whole.append((text, weight))
    return whole
