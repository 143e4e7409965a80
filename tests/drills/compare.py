"""Compare what two versions of the code made of the same roster: contents, not wording.

    make drill-compare ARGS="OLD/results/demo NEW/results/demo"

Compared are every column of every table, every tensor and the metadata of LoRAs and embeddings, pixels and texts of
every picture, every JSON artifact, and the numbers of cards and pages in their order. Left aside are manifests and
receipts, digests of lineages, generated Python (its import paths), and words. Prints a line per kind of file and one
per difference; exits with 1 if there is any.
"""

import html
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from safetensors import safe_open

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*[a-f_])")
DIGEST = re.compile(r"\b(?:v-)?(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b")
INLINED = re.compile(r"data:[a-z/+-]+;base64,[A-Za-z0-9+/=]+")
STYLES = re.compile(r"<(style|script)\b.*?</\1>", re.DOTALL)
WORDS = {
    "reason",
    "rule",
    "meaning",
    "why",
    "words",
    "advice",
    "what",
    "columns",
}  # keys of JSON artifacts that hold words
SHOWN = 20  # differences


def table(path: Path) -> Any:
    content = pq.read_table(path)
    return content.schema.remove_metadata(), [content.column(name).to_pylist() for name in content.column_names]


def tensors(path: Path) -> Any:
    with safe_open(path, framework="numpy") as file:
        metadata = {key: value for key, value in (file.metadata() or {}).items() if key != "charaloom.lineage"}
        names = sorted(file.keys())
        return metadata, [(name, file.get_slice(name).get_dtype(), file.get_tensor(name).tobytes()) for name in names]


def picture(path: Path) -> Any:
    with Image.open(path) as image:
        texts = {key: DIGEST.sub("", text) for key, text in getattr(image, "text", {}).items()}
        return image.size, image.mode, image.tobytes(), texts


def document(path: Path) -> Any:
    return without_words(json.loads(path.read_text(encoding="utf-8")))


def without_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_words(inner) for key, inner in value.items() if key not in WORDS and key != "lineage"}
    return [without_words(inner) for inner in value] if isinstance(value, list) else value


def numbers(path: Path) -> Any:
    text = DIGEST.sub("", STYLES.sub("", INLINED.sub("", html.unescape(path.read_text(encoding="utf-8")))))
    return NUMBER.findall(text)


READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": table,
    ".safetensors": tensors,
    ".png": picture,
    ".webp": picture,
    ".json": document,
    ".md": numbers,
    ".html": numbers,
}


def artifacts(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        apart = name.name.endswith(".manifest.json") or name.name == "manifest.json" or "published" in name.parts
        if path.is_file() and not apart and path.suffix != ".py":
            yield name


def main(arguments: list[str]) -> int:
    old, new = map(Path, arguments)
    names = sorted({*artifacts(old), *artifacts(new)})
    equal, different = Counter[str](), []
    for name in names:
        if not ((old / name).is_file() and (new / name).is_file()):
            different.append(f"{name}: only in {old if (old / name).is_file() else new}")
            continue
        read = READERS.get(name.suffix, Path.read_bytes)
        if read(old / name) == read(new / name):
            equal[name.suffix] += 1
        else:
            different.append(f"{name}: {read.__name__} differ")
    for suffix, count in sorted(equal.items()):
        print(f"{count:5} equal  {suffix}")
    print("\n".join(different[:SHOWN]) or "no difference")
    if len(different) > SHOWN:
        print(f"and {len(different) - SHOWN} more")
    return 1 if different or not equal else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
