"""What an outfit is called: its signature, the tags that tell it from the others, and an identifier made of them.

An identifier depends on what the outfit is, not on its size or number, so that it survives more pictures.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from charaloom.artifacts.types import Row
from charaloom.config.roster import EMBEDDING
from charaloom.tagging.merging import OWN
from charaloom.tagging.vocabulary import has_colour, is_clothing, is_garment, is_headwear, piece_of_colour

# Shares and scores below were set by hand.
SIGNATURE_SHARE = 0.35  # of an outfit's views that show a signature tag at least
SIGNATURE_EXCESS = 0.2  # by which its share exceeds the one in the other views at least
SIGNATURE_MOST = 8  # tags
CLEARLY = 0.25  # of a signature score below the best one, from which a tag names an outfit only after the others
WRITTEN_SHARE = 0.5  # of an outfit's views of which the user wrote a piece of clothing, from which it may name it
# A board's tag names an outfit if it stands at so many of its views, which are at least this share of the outfit's, of
# the tag's, and of those of the outfit that any tag names: boards name some of the pictures only.
OFFICIAL_LEAST, OFFICIAL_HERE, OFFICIAL_OF_TAG, OFFICIAL_OF_NAMED = 3, 0.2, 0.5, 0.6


@dataclass
class Outfit:
    """A group of views (by index) that wear the same."""

    members: list[int]
    stability: float
    signature: list[Row]
    official: str | None = None  # the boards' name for it
    identifier: str = ""
    trained: bool = False
    why_not: str | None = None  # it is not trained
    repeats: int = 1  # how often each of its training views is seen in an epoch
    training: list[int] = field(default_factory=list)  # members that train
    written: frozenset[str] = frozenset()  # clothes that the user wrote of most of its views


def signature(views: list[Row], members: list[int]) -> list[Row]:
    """Clothing tags that tell this outfit from the other views: score is its share here less the share elsewhere."""
    inside = set(members)
    here, elsewhere = Counter[str](), Counter[str]()
    for index, view in enumerate(views):
        worn = {tag["name"] for tag in view["tags"] if is_clothing(tag["name"])}
        (here if index in inside else elsewhere).update(worn)
    outside = max(len(views) - len(members), 1)
    rows: list[Row] = []
    for tag, count in here.items():
        share = count / len(members)
        score = round(share - elsewhere[tag] / outside, 4)
        if share >= SIGNATURE_SHARE and score >= SIGNATURE_EXCESS:
            rows.append({"tag": tag, "score": score})
    rows.sort(key=lambda row: (-row["score"], row["tag"]))
    return [row for row in rows if not outshone(row, rows)][:SIGNATURE_MOST]


def written(views: list[Row], members: list[int]) -> frozenset[str]:
    """Clothes that the user wrote of at least half of these views: they name the outfit before what the tagger sees."""
    counts = Counter(
        tag["name"]
        for index in members
        for tag in views[index]["tags"]
        if tag["origin"] == OWN and is_clothing(tag["name"])
    )
    return frozenset(name for name, count in counts.items() if count >= WRITTEN_SHARE * len(members))


def outshone(row: Row, rows: list[Row]) -> bool:
    """Whether the tagger sees the same piece in another colour clearly more often: then this colour is its mistake."""
    piece = piece_of_colour(row["tag"])
    return piece is not None and any(
        piece_of_colour(rival["tag"]) == piece and rival["score"] - row["score"] > CLEARLY for rival in rows
    )


def official_name(anchors: list[set[str]], members: list[int]) -> str | None:
    """The boards' name of an outfit that enough of these views have, and that few others have."""
    everywhere = Counter(name for names in anchors for name in names)
    here = Counter(name for index in members for name in anchors[index])
    named = sum(bool(anchors[index]) for index in members)
    agreed = [
        name
        for name, count in here.items()
        if count >= max(OFFICIAL_LEAST, OFFICIAL_HERE * len(members), OFFICIAL_OF_NAMED * named)
        and count >= OFFICIAL_OF_TAG * everywhere[name]
    ]
    return min(agreed, key=lambda name: (-here[name], name), default=None)


def name_all(outfits: list[Outfit]) -> None:
    """Give every outfit an identifier: what boards call it, else a coloured garment, else the best tag it has.

    Where two outfits would share one, both add their next tag, one that the other lacks before others.
    """
    candidates = [naming_tags(outfit) for outfit in outfits]
    first = Counter(tags[0] for tags in candidates)
    taken: set[str] = set()
    for number, (outfit, tags) in enumerate(zip(outfits, candidates, strict=True)):
        rivals = [other for place, other in enumerate(candidates) if place != number and other[0] == tags[0]]
        shared = {tag for other in rivals for tag in other}
        more = sorted(tags[1:], key=lambda tag: tag in shared)[:1] if first[tags[0]] > 1 else []
        wanted = "_".join([tags[0], *more])
        outfit.identifier = next(name for name in numbered(wanted) if name not in taken)
        taken.add(outfit.identifier)


def numbered(name: str) -> Iterable[str]:
    """The name, then the name with 2, 3 … behind it."""
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def naming_tags(outfit: Outfit) -> list[str]:
    """Signature tags, the ones that name an outfit best first: garments, anything else, hats; of each the ones that
    nearly all of its pictures show, with a colour rather than without.

    Scores count only as far as they lie clearly below the best one, so that a few more pictures rarely change a name.
    """

    def kind(tag: str) -> int:
        return 2 if is_headwear(tag) else 0 if is_garment(tag) else 1

    best: dict[int, float] = {}
    for row in outfit.signature:
        best[kind(row["tag"])] = max(best.get(kind(row["tag"]), 0.0), row["score"])

    def rank(row: Row) -> tuple[bool, int, bool, bool, str]:
        tag = row["tag"]
        return tag not in outfit.written, kind(tag), best[kind(tag)] - row["score"] > CLEARLY, not has_colour(tag), tag

    tags = [plain_name(row["tag"]) for row in sorted(outfit.signature, key=rank)]
    official = [plain_name(outfit.official)] if outfit.official else []
    return list(dict.fromkeys([*official, *tags])) or ["plain"]


def plain_name(tag: str) -> str:
    """A tag as an identifier: letters, digits and underscores; not one whose trigger would begin with the word of the
    character's embedding, as `hana_embroidered_dress` begins with `hana_emb`."""
    name = "".join(letter if letter.isalnum() else "_" for letter in tag).strip("_")
    return f"outfit_{name}" if name.startswith(EMBEDDING) else name


def outfit_trigger(character: str, outfit: Outfit) -> str:
    """The trigger of an outfit, which captions and prompts give after the character's."""
    return f"{character}_{outfit.identifier}"


def in_order(outfits: list[Outfit]) -> list[Outfit]:
    """The trained outfits first, the larger before the smaller."""
    return sorted(outfits, key=lambda outfit: (not outfit.trained, -len(outfit.members), outfit.identifier))
