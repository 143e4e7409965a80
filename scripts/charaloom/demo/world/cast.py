"""Who lives in the demo world: characters, their outfits, and how a picture of them is staged.

Everything here is a plain value drawn from a `random.Random`; `drawing.py` turns it into pixels. Tags are booru tags.
"""

from dataclasses import dataclass, field
from random import Random

HAIR_COLOURS = ("black", "brown", "blonde", "red", "orange", "pink", "purple", "blue", "aqua", "green", "white", "grey")
HAIR_STYLES = ("bob_cut", "long_hair", "twintails", "side_ponytail", "double_bun", "messy_hair", "twin_braids")
BANGS = ("blunt_bangs", "swept_bangs", "parted_bangs")
EYE_COLOURS = ("red", "blue", "green", "purple", "yellow", "brown", "pink", "aqua")
CLOTH_COLOURS = ("red", "blue", "green", "yellow", "purple", "pink", "white", "black", "orange", "brown")
ACCESSORIES = (
    "hair_bow",
    "hair_flower",
    "hairclip",
    "glasses",
    "cat_ears",
    "rabbit_ears",
    "horns",
    "halo",
    "hairband",
    "eyepatch",
)
COLOURED_ACCESSORIES = ("hair_bow", "hair_flower", "hairclip", "hairband")
GARMENTS = (
    "serafuku",
    "dress",
    "kimono",
    "armor",
    "hoodie",
    "maid",
    "coat",
    "overalls",
    "suit",
    "witch",
    "sweater",
    "gym_uniform",
)
FRAMINGS = ("portrait", "upper_body", "cowboy_shot", "full_body")
POSES = ("arms_at_sides", "arms_up", "hand_on_hip", "waving", "holding_book", "v")
EXPRESSIONS = ("smile", "open_mouth", "frown", "closed_eyes", "one_eye_closed", "surprised")
BACKGROUNDS = ("white", "gradient", "meadow", "night", "room", "beach", "city", "sunset", "blossoms")
STYLES = ("cel", "pastel", "ink", "watercolor")

BACKGROUND_TAGS = {
    "white": ("simple_background", "white_background"),
    "gradient": ("simple_background", "gradient_background"),
    "meadow": ("outdoors", "day", "sky", "grass"),
    "night": ("outdoors", "night", "starry_sky"),
    "room": ("indoors", "window"),
    "beach": ("outdoors", "beach", "ocean"),
    "city": ("outdoors", "city", "building"),
    "sunset": ("outdoors", "sunset", "orange_sky"),
    "blossoms": ("outdoors", "cherry_blossoms", "petals"),
}
# The style a picture is drawn in is tagged as boards tag it; cel is what a viewer expects and has no tag.
STYLE_TAGS = {
    "cel": (),
    "pastel": ("pastel_colors",),
    "ink": ("thick_outlines",),
    "watercolor": ("watercolor_(medium)",),
}

GARMENT_TAGS = {
    "serafuku": ("serafuku", "sailor_collar", "neckerchief", "pleated_skirt"),
    "dress": ("dress", "long_dress", "short_sleeves"),
    "kimono": ("kimono", "sash", "wide_sleeves"),
    "armor": ("armor", "breastplate", "shoulder_armor"),
    "hoodie": ("hoodie", "hood", "shorts"),
    "maid": ("maid", "apron", "frills"),
    "coat": ("coat", "scarf", "long_sleeves"),
    "overalls": ("overalls", "striped_shirt"),
    "suit": ("suit", "necktie", "pants"),
    "witch": ("robe", "capelet", "belt"),
    "sweater": ("sweater", "turtleneck", "plaid_skirt"),
    "gym_uniform": ("gym_uniform", "short_sleeves", "shorts"),
}
GARMENT_NOUN = {"maid": "dress", "witch": "robe", "gym_uniform": "shirt", "armor": "tabard", "serafuku": "skirt"}
# The piece that a garment can be drawn without.
PIECES = {"maid": "apron", "coat": "scarf", "kimono": "sash"}
# Headwear belongs to an outfit, never to a character: the accessory that leaks in badly made models.
GARMENT_HEADWEAR = {"witch": "witch_hat", "maid": "maid_headdress", "armor": "tiara", "coat": "beret"}

GIVEN_NAMES = [
    "akane",
    "hana",
    "yuki",
    "sora",
    "rin",
    "mio",
    "kaede",
    "tsubaki",
    "nagi",
    "hotaru",
    "sayo",
    "mei",
    "aoi",
    "chihiro",
    "natsume",
    "suzu",
    "kiri",
    "ruri",
    "ema",
    "fuyu",
    "ito",
    "kohaku",
    "lila",
    "maru",
    "nene",
    "orie",
    "pipa",
    "riko",
    "shiho",
    "tomo",
    "ume",
    "wakana",
    "yoru",
    "azami",
    "botan",
]


@dataclass(frozen=True)
class Outfit:
    """Clothes: a garment in a colour, a second colour for its trim, headwear that is worn with it or none."""

    garment: str
    colour: str
    trim: str
    headwear: str | None = None
    without: str | None = None  # a piece of PIECES that this one lacks
    label: str | None = None  # its name, where colour and garment are not enough

    @property
    def name(self) -> str:
        return self.label or f"{self.colour}_{self.garment}"

    @property
    def tags(self) -> tuple[str, ...]:
        """What a board would tag of it, the coloured noun first."""
        noun = GARMENT_NOUN.get(self.garment, self.garment)
        pieces = [piece for piece in GARMENT_TAGS[self.garment] if piece != self.without]
        headwear = (self.headwear,) if self.headwear else ()
        return (f"{self.colour}_{noun}", *pieces, *headwear)


@dataclass(frozen=True)
class Character:
    """What stays true of somebody in every outfit."""

    name: str
    hair_colour: str
    hair_style: str
    bangs: str
    eye_colour: str
    accessory: str
    accessory_colour: str
    ahoge: bool
    dark_skin: bool
    tall: bool
    outfits: tuple[Outfit, ...] = field(default=())

    @property
    def tag(self) -> str:
        return f"{self.name}_(charaloom)"

    @property
    def core_tags(self) -> tuple[str, ...]:
        accessory = self.accessory
        if accessory in COLOURED_ACCESSORIES:
            accessory = f"{self.accessory_colour}_{accessory}"
        tags = [f"{self.hair_colour}_hair", self.hair_style, self.bangs, f"{self.eye_colour}_eyes", accessory]
        tags += ["ahoge"] if self.ahoge else []
        tags += ["dark_skin"] if self.dark_skin else []
        return tuple(tags)


@dataclass(frozen=True)
class Staging:
    """How one picture shows one person."""

    framing: str
    pose: str
    expression: str
    blush: bool
    looking_away: bool
    mirrored: bool
    tilt: float  # degrees
    scale: float  # around 1
    shift: tuple[float, float]  # of the picture's size
    back: bool = False  # seen from behind
    chibi: bool = False

    @property
    def tags(self) -> tuple[str, ...]:
        gaze = "looking_away" if self.looking_away else "looking_at_viewer"
        tags = [self.framing, self.expression, gaze]
        tags += ["blush"] if self.blush else []
        # A portrait shows no arms: a board would not tag them.
        tags += [self.pose] if self.framing != "portrait" else []
        return tuple(tags)


def draw_outfit(rng: Random, garment: str | None = None) -> Outfit:
    garment = garment or rng.choice(GARMENTS)
    colour = rng.choice(CLOTH_COLOURS)
    trim = rng.choice([trim for trim in ("white", "black", "yellow", "red", "blue") if trim != colour])
    headwear = GARMENT_HEADWEAR.get(garment)
    return Outfit(garment, colour, trim, headwear)


def draw_character(rng: Random, name: str, outfits: int = 3) -> Character:
    """Somebody new, with `outfits` outfits of different garments and colours."""
    chosen: list[Outfit] = []
    for garment in rng.sample(GARMENTS, outfits):
        outfit = draw_outfit(rng, garment)
        while outfit.colour in {worn.colour for worn in chosen}:
            outfit = draw_outfit(rng, garment)
        chosen.append(outfit)
    return Character(
        name=name,
        hair_colour=rng.choice(HAIR_COLOURS),
        hair_style=rng.choice(HAIR_STYLES),
        bangs=rng.choice(BANGS),
        eye_colour=rng.choice(EYE_COLOURS),
        accessory=rng.choice(ACCESSORIES),
        accessory_colour=rng.choice(("red", "blue", "yellow", "pink", "white", "purple")),
        ahoge=rng.random() < 0.3,
        dark_skin=rng.random() < 0.15,
        tall=rng.random() < 0.5,
        outfits=tuple(chosen),
    )


def draw_cast(rng: Random, size: int) -> list[Character]:
    """Characters that a person can tell apart: no two share hair colour and style, or hair and eye colour."""
    names = rng.sample(GIVEN_NAMES, size)
    cast: list[Character] = []
    for name in names:
        somebody = draw_character(rng, name, outfits=rng.choice((3, 3, 4)))
        while any(alike(somebody, member) for member in cast):
            somebody = draw_character(rng, name, outfits=len(somebody.outfits))
        cast.append(somebody)
    return cast


def alike(first: Character, second: Character) -> bool:
    """Whether a person may take them for each other."""
    if first.hair_colour != second.hair_colour:
        return False
    return first.hair_style == second.hair_style or first.eye_colour == second.eye_colour


def draw_staging(rng: Random, framing: str | None = None) -> Staging:
    return Staging(
        framing=framing or rng.choices(FRAMINGS, (20, 35, 25, 20))[0],
        pose=rng.choice(POSES),
        expression=rng.choices(EXPRESSIONS, (34, 24, 12, 10, 10, 10))[0],
        blush=rng.random() < 0.2,
        looking_away=rng.random() < 0.2,
        mirrored=rng.random() < 0.5,
        tilt=rng.uniform(-6, 6),
        scale=rng.uniform(0.92, 1.08),
        shift=(rng.uniform(-0.05, 0.05), rng.uniform(-0.02, 0.03)),
    )


def picture_tags(somebody: Character, outfit: Outfit, staging: Staging, background: str, style: str) -> list[str]:
    """The true tags of a picture of one person, as a careful board would give them."""
    who = ["1girl", "solo"]
    covered = covered_by(outfit)
    core = [tag for tag in somebody.core_tags if not any(tag.endswith(part) for part in covered)]
    seen = visible_outfit_tags(outfit, staging.framing)
    return [*who, *core, *seen, *staging.tags, *BACKGROUND_TAGS[background], *STYLE_TAGS[style]]


def covered_by(outfit: Outfit) -> tuple[str, ...]:
    """Accessories that the outfit's headwear hides."""
    if outfit.headwear in ("witch_hat", "beret"):
        return ("ahoge", "hairband")
    return ("hairband",) if outfit.headwear else ()


LOWER_TAGS = ("pleated_skirt", "plaid_skirt", "shorts", "pants", "long_dress", "apron", "belt")


def visible_outfit_tags(outfit: Outfit, framing: str) -> list[str]:
    """Outfit tags that the framing shows: a portrait or upper body has no skirt."""
    if framing in ("cowboy_shot", "full_body"):
        return list(outfit.tags)
    hidden = set(LOWER_TAGS)
    if outfit.garment == "serafuku":
        hidden.add(f"{outfit.colour}_skirt")
    return [tag for tag in outfit.tags if tag not in hidden]
