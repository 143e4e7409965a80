"""Tagged: the tags of every kept view, and the core tags that always hold of the character.

The tags of tagger and board are merged, with their origin; what the user wrote comes first and wins. Core tags leave
the captions: the trigger stands for them. Of tags that exclude each other the one with more evidence stays. A tag that
is left out keeps the reason.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from charaloom.artifacts.files import read_json, write_json
from charaloom.artifacts.manifest import lineage, write_manifest
from charaloom.artifacts.tables import TAGGED, VIEW_COLUMNS, read_table, write_table
from charaloom.artifacts.types import PathLike
from charaloom.config.params import Tagged
from charaloom.errors import CharaloomError
from charaloom.tagging.core import judge_core
from charaloom.tagging.merging import OWN, Tags, drop_reasons, merge, overruled, variants
from charaloom.tagging.vocabulary import Vocabulary

REFUSAL = "refusal"  # key of what the filters wrote: why the views that they left cannot train


@dataclass(frozen=True)
class TaggedInputs:
    """The files that tagging reads; `hub` is the hub cache with the boards' vocabulary."""

    raw: PathLike
    measured: PathLike
    filtered: PathLike
    hub: PathLike
    upstream: Sequence[PathLike]
    decisions: PathLike | None = None  # facet of the filters: with a refusal, nothing is tagged


def tag_views(
    character: str, params: Tagged, inputs: TaggedInputs, table: PathLike, core: PathLike, manifest: PathLike
) -> None:
    """Write the tags of every kept view (schema TAGGED), and core.json: the core tags with the numbers that decided.

    Raises CharaloomError where the filters left too few views of the character.
    """
    if inputs.decisions and (refusal := read_json(inputs.decisions).get(REFUSAL)):
        raise CharaloomError(refusal)
    origin = lineage("tagged", character, params.plain(), inputs.upstream)
    columns = [name for name, _ in VIEW_COLUMNS]
    kept = [row for row in read_table(inputs.filtered, [*columns, "verdict", "split"]) if row["verdict"] == "keep"]
    kept.sort(key=lambda row: row["view"])
    names = {row["view"] for row in kept}
    scores = {row["view"]: row["tags"] for row in read_table(inputs.measured, ["view", "tags"]) if row["view"] in names}
    posts = {row["picture"]: row["posts"] or [] for row in read_table(inputs.raw, ["picture", "posts"])}
    vocabulary = Vocabulary(inputs.hub)
    merged = [merge(scores[row["view"]], posts[row["picture"]], row["kind"], params) for row in kept]
    believed = [{name: tags[name] for name in tags.keys() - overruled(tags)} for tags in merged]
    judgements = judge_core(believed, params, vocabulary)
    core_tags = [judgement["tag"] for judgement in judgements if judgement["core"]]
    rows = []
    for row, tags in zip(kept, merged, strict=True):
        dropped = drop_reasons(tags, posts[row["picture"]], set(core_tags), params, vocabulary)
        remaining = in_order({name: facts for name, facts in tags.items() if name not in dropped})
        rows.append(
            {
                **{name: row[name] for name in columns},
                "split": row["split"],
                "tags": [{"name": name, "score": tags[name][0], "origin": tags[name][1]} for name in remaining],
                "dropped": [{"name": name, "reason": reason} for name, reason in sorted(dropped.items())],
                "variants": variants(params.tag, posts[row["picture"]]),
                "repeats": max((post["repeats"] or 0 for post in posts[row["picture"]]), default=0) or None,
            }
        )
    write_table(table, rows, TAGGED, "view")
    write_json(core, {"core": core_tags, "views": len(rows), "share": params.core_share, "tags": judgements})
    dropped_by_reason = Counter(entry["reason"] for row in rows for entry in row["dropped"])
    counts = {"views": len(rows), "core": len(core_tags), "dropped": dict(sorted(dropped_by_reason.items()))}
    write_manifest(manifest, origin, {"table": table, "core": core}, counts)


def in_order(tags: Tags) -> list[str]:
    """The user's own tags as they wrote them, then the others by score."""
    own = [name for name, (_, origin) in tags.items() if origin == OWN]
    return own + sorted(tags.keys() - set(own), key=lambda name: (-tags[name][0], name))
