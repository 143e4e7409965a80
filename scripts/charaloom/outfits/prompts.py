"""What previews and cards ask for: every trained outfit in fixed scenes, and a few prompts that name no outfit."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from charaloom.artifacts.types import Row
from charaloom.outfits.names import Outfit, in_order, outfit_trigger
from charaloom.tagging.captions import caption

# Kinds of prompts, as outfits.json and scores.parquet name them.
OUTFIT = "outfit"  # the trigger, the outfit's trigger, the head of its signature, a scene
CORE = "core"  # the trigger and the core tags
TRIGGER = "trigger"  # the trigger alone
CLOTHES = "clothes"  # the trigger and clothes that the character never wore
PLAIN = "plain"  # the same scene without any trigger: nothing of the character should appear

PROMPT_SIGNATURE = 4  # signature tags that a prompt spells out

# Every outfit in framings, poses, places, faces; in boards' own words, clothed and harmless. The first tag defines a
# scene: where the tagger lacks it, no score could tell whether the preview shows it, so the scene is left out. Any
# other tag that the tagger lacks is left out singly.
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
# The clothes and posture of the prompts that name no outfit (see `prompts`).
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
CLOTHES_PROMPTS = 2
PERSON_TAGS = ("1girl", "1boy", "1other")


@dataclass(frozen=True)
class Wording:
    """What all prompts of a character share."""

    character: str
    trigger: str
    count: list[str]  # tags of how many people there are
    tagger_tags: Collection[str]  # tags that the tagger has

    def row(
        self,
        name: str,
        kind: str,
        own: Iterable[str] = (),
        scene: Iterable[str] = (),
        outfit: Outfit | None = None,
    ) -> Row:
        """One prompt: `own` tags are spelled out in any case, those of the `scene` where the tagger has them."""
        tags = list(dict.fromkeys([*own, *self.visible(scene)]))
        trigger = "" if kind == PLAIN else self.trigger
        worn = outfit_trigger(self.character, outfit) if outfit else None
        return {
            "id": f"{outfit.identifier}-{name}" if outfit else name,
            "kind": kind,
            "outfit": outfit.identifier if outfit else None,
            "text": caption(trigger, worn, [*self.count, *tags]),
            "asked": self.visible(tags),
        }

    def visible(self, tags: Iterable[str]) -> list[str]:
        return [tag for tag in tags if tag in self.tagger_tags]


def prompts(
    character: str,
    trigger: str,
    views: list[Row],
    outfits: list[Outfit],
    core: list[str],
    tagger_tags: Collection[str],
) -> list[Row]:
    """What previews and cards ask for: {id, kind, outfit, text, asked}; `asked` are the tags that should be seen.

    `tagger_tags` are the tags that the tagger has.
    """
    wording = Wording(character, trigger, count_tags(views), tagger_tags)
    trained = [outfit for outfit in in_order(outfits) if outfit.trained]
    return [
        *outfit_prompts(wording, trained),
        wording.row("core_tags", CORE, core, POSTURE),
        wording.row("trigger_only", TRIGGER),
        *(wording.row(tags[0], CLOTHES, scene=[*tags, *POSTURE]) for tags in other_clothes(outfits, tagger_tags)),
        wording.row("without_trigger", PLAIN, scene=POSTURE),
    ]


def outfit_prompts(wording: Wording, trained: list[Outfit]) -> list[Row]:
    """Every trained outfit in every scene; the scenes without an outfit where none is trained."""
    scenes = [(name, tags) for name, tags in SCENES if tags[0] in wording.tagger_tags]
    if not trained:
        return [wording.row(f"any-{name}", OUTFIT, scene=tags) for name, tags in scenes]
    return [
        wording.row(name, OUTFIT, signature_head(outfit), tags, outfit) for outfit in trained for name, tags in scenes
    ]


def signature_head(outfit: Outfit) -> list[str]:
    """The signature tags that a prompt spells out."""
    return [row["tag"] for row in outfit.signature[:PROMPT_SIGNATURE]]


def other_clothes(outfits: list[Outfit], tagger_tags: Collection[str]) -> list[tuple[str, ...]]:
    """The first few clothes of OTHER_CLOTHES that share no word with a signature of the character's outfits."""
    worn = {word for outfit in outfits for row in outfit.signature for word in row["tag"].split("_")}
    strange = [
        tags
        for tags in OTHER_CLOTHES
        if tags[0] in tagger_tags and worn.isdisjoint(word for tag in tags for word in tag.split("_"))
    ]
    return strange[:CLOTHES_PROMPTS]


def count_tags(views: list[Row]) -> list[str]:
    """`1girl`, `1boy` or `1other`, whichever the views are tagged with most, and `solo`."""
    counts = Counter(tag["name"] for view in views for tag in view["tags"] if tag["name"] in PERSON_TAGS)
    most = min(counts, key=lambda name: (-counts[name], name), default=None)
    return [most, "solo"] if most else []
