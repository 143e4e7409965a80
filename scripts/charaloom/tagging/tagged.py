"""Tagged: what is to be said of every kept view, and what need not be said because it is always true of her.

Tags of the tagger and of the board are merged with their origin. Core tags are traits of the person that hold in every
outfit, by confidence intervals of counts: they go into the trigger and leave the captions. Of tags that exclude each
other the one with more evidence stays. A tag that leaves says why.
"""

import os
from collections import Counter
from typing import Any

from charaloom.artifacts.files import write_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import TAGGED, VIEW_COLUMNS, read_table, write_table
from charaloom.artifacts.types import PathLike
from charaloom.tagging.core import judge_core
from charaloom.tagging.merging import merge, reasons, variants
from charaloom.tagging.vocabulary import Vocabulary

Params = dict[str, Any]


def tag_views(
    character: str,
    params: Params,
    raw: PathLike,
    measured: PathLike,
    filtered: PathLike,
    filtered_manifest: PathLike,
    hub: PathLike,
    table: PathLike,
    core: PathLike,
    manifest: PathLike,
) -> None:
    """Write the tags of every kept view (schema TAGGED), and core.json: the core tags with the numbers that decided."""
    origin = lineage("tagged", character, params, {"filtered": os.fspath(filtered_manifest)})
    columns = [name for name, _ in VIEW_COLUMNS]
    kept = [row for row in read_table(filtered, [*columns, "verdict", "split"]) if row["verdict"] == "keep"]
    kept.sort(key=lambda row: row["view"])
    names = {row["view"] for row in kept}
    scores = {row["view"]: row["tags"] for row in read_table(measured, ["view", "tags"]) if row["view"] in names}
    posts = {row["picture"]: row["posts"] or [] for row in read_table(raw, ["picture", "posts"])}
    vocabulary = Vocabulary(hub)
    merged = [merge(scores[row["view"]], posts[row["picture"]], row["kind"], params) for row in kept]
    judgements = judge_core(merged, params, vocabulary)
    core_tags = [judgement["tag"] for judgement in judgements if judgement["core"]]
    rows = []
    for row, tags in zip(kept, merged, strict=True):
        dropped = reasons(tags, posts[row["picture"]], set(core_tags), params, vocabulary)
        left = sorted((name for name in tags if name not in dropped), key=lambda name: (-tags[name][0], name))
        rows.append(
            {
                **{name: row[name] for name in columns},
                "split": row["split"],
                "tags": [{"name": name, "score": tags[name][0], "origin": tags[name][1]} for name in left],
                "dropped": [{"name": name, "reason": reason} for name, reason in sorted(dropped.items())],
                "variants": variants(params.get("tag"), posts[row["picture"]]),
            }
        )
    write_table(table, rows, TAGGED, "view", origin)
    write_json(core, {"core": core_tags, "views": len(rows), "share": params["core_share"], "tags": judgements})
    why = Counter(entry["reason"] for row in rows for entry in row["dropped"])
    counts = {"views": len(rows), "core": len(core_tags), "dropped": dict(sorted(why.items()))}
    write_manifest(manifest, origin, {"table": table, "core": core}, counts)
