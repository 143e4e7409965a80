"""What previews and cards ask for."""

from collections import Counter
from collections.abc import Collection, Iterable

from charaloom.artifacts.types import Row
from charaloom.outfits.names import Outfit, in_order, outfit_trigger
from charaloom.tagging.captions import caption

PROMPT_SIGNATURE = 4  # signature tags that a prompt spells out

# What the previews ask of every outfit: framings, poses, places, faces; boards' own words, clothed and harmless. A
# scene is what its first tag says: where the tagger does not know that one, nobody could tell whether it was drawn,
# and it is left out, as single tags are.
SCENES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("portrait", ("portrait", "looking_at_viewer", "smile", "simple_background")),
    ("full_body", ("full_body", "standing", "looking_at_viewer", "white_background")),
    ("meadow", ("grass", "cowboy_shot", "outdoors", "day", "sky")),
    ("profile", ("profile", "from_side", "upper_body", "simple_background")),
    ("sitting", ("sitting", "full_body", "chair", "indoors")),
    ("night", ("night", "upper_body", "outdoors", "starry_sky")),
    ("open_mouth", ("open_mouth", "upper_body", "looking_at_viewer", "simple_background")),
    ("city", ("city", "full_body", "outdoors", "building")),
    ("frown", ("frown", "portrait", "looking_at_viewer", "simple_background")),
    ("room", ("indoors", "cowboy_shot", "window")),
    ("closed_eyes", ("closed_eyes", "upper_body", "smile", "simple_background")),
)
# What they ask besides, once for a character: what the trigger alone draws, what her core tags add, clothes that are
# not hers, and the same scene without her name, in which nothing of her should appear.
POSTURE = ("upper_body", "looking_at_viewer", "simple_background")
OTHER_CLOTHES: tuple[tuple[str, ...], ...] = (
    ("kimono", "sash", "wide_sleeves"),
    ("serafuku", "sailor_collar", "pleated_skirt"),
    ("suit", "necktie"),
    ("hoodie", "hood"),
    ("sweater", "turtleneck"),
    ("maid", "apron"),
    ("dress", "long_dress"),
)
CLOTHES_ASKED = 2


def prompts(
    character: str, trigger: str, views: list[Row], outfits: list[Outfit], core: list[str], known: Collection[str]
) -> list[Row]:
    """What previews and cards ask for: {id, kind, outfit, text, asked}; `asked` are the tags that should be seen.

    `known` are the tags that the tagger knows. Kinds: `outfit` (trigger, the outfit's trigger, the head of its
    signature, a scene), `core` (trigger and core tags), `trigger` (the trigger alone), `clothes` (clothes she never
    wore), `plain` (the same scene without any trigger).
    """
    count = count_tag(views)

    def one(
        name: str,
        kind: str,
        hers: Iterable[str],
        scene: Iterable[str],
        outfit: Outfit | None = None,
        called: bool = True,
    ) -> Row:
        said = list(dict.fromkeys([*hers, *(tag for tag in scene if tag in known)]))
        worn = outfit_trigger(character, outfit) if outfit else None
        text = caption(trigger if called else "", worn, [*count, *said])
        return {
            "id": f"{outfit.identifier}-{name}" if outfit else name,
            "kind": kind,
            "outfit": outfit.identifier if outfit else None,
            "text": text,
            "asked": [tag for tag in said if tag in known],
        }

    scenes = [(name, tags) for name, tags in SCENES if tags[0] in known]
    asked: list[Outfit | None] = [outfit for outfit in in_order(outfits) if outfit.trained]
    rows = [
        one(name if outfit else f"any-{name}", "outfit", head_of(outfit), tags, outfit)
        for outfit in asked or [None]
        for name, tags in scenes
    ]
    rows += [one("core_tags", "core", core, POSTURE), one("trigger_only", "trigger", [], [])]
    rows += [one(tags[0], "clothes", [], [*tags, *POSTURE]) for tags in other_clothes(outfits, known)]
    return [*rows, one("without_trigger", "plain", [], POSTURE, called=False)]


def head_of(outfit: Outfit | None) -> list[str]:
    """The signature tags that a prompt spells out."""
    return [row["tag"] for row in outfit.signature[:PROMPT_SIGNATURE]] if outfit else []


def other_clothes(outfits: list[Outfit], known: Collection[str]) -> list[tuple[str, ...]]:
    """The first few clothes of OTHER_CLOTHES that are nothing like what she wears."""
    hers = {word for outfit in outfits for row in outfit.signature for word in row["tag"].split("_")}
    strange = [tags for tags in OTHER_CLOTHES if tags[0] in known and not any(set(t.split("_")) & hers for t in tags)]
    return strange[:CLOTHES_ASKED]


def count_tag(views: list[Row]) -> list[str]:
    """`1girl`, `1boy` or `1other`, whichever the views are tagged with most, and `solo`."""
    told = Counter(tag["name"] for view in views for tag in view["tags"] if tag["name"] in ("1girl", "1boy", "1other"))
    most = min(told, key=lambda name: (-told[name], name), default=None)
    return [most, "solo"] if most else []
