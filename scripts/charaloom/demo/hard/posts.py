"""Draws a hard world: the posts of `world.building`, with what real boards have besides.

Every post has a generator of its own, seeded by the world's seed, its character, its kind and its number, so that more
posts of one kind change no other. Each post says in `kinds` what is hard about it; the truth counts them.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from charaloom.artifacts.files import whole_folder, write_json
from charaloom.artifacts.seeds import derive_seed
from charaloom.demo.hard.cast import TAIL, Star, foreign_outfit, hard_cast
from charaloom.demo.world import building, cast
from charaloom.demo.world.building import FAULT_POSTS, FAULTS, Post
from charaloom.demo.world.cast import Character, Outfit, Staging

USUAL = 600  # posts of a character, which the numbers below are of
COPIES = (
    *("exact_duplicate", "reencoded_duplicate", "cropped_duplicate", "tiny", "monochrome", "comic", "ai_made"),
    *("higher_rating", "sensitive_rating", "missing_file", "no_file_url", "broken_file"),
)  # faults that a hard world has as an easy one has them, half as often
SHARES = {
    "fan_outfit": 0.15,  # the character in clothes that nobody else draws them in
    "seasonal": 0.02,  # the same for a holiday, tagged as an alternate costume
    "stranger": 0.04,  # somebody else under the character's tag
    "look_alike": 0.04,  # the same, with the character's hair colour and hair style, or hair colour and eyes
    "several_people": 0.03,
    "twin": 0.03,  # several people with the character's sister among them
    "cosplays_another": 0.04,
    "cosplayed_by_another": 0.04,
}
FORGOTTEN, FORGOTTEN_BEFORE = 0.3, 0.12  # tags that a post lacks; that `world.building` left out already
WRONG = 0.1  # of a post's tags that are another of their sort
UNTAGGED = 0.6  # of the cosplay
OFFICIAL = 0.5  # of the pictures of an outfit that has an official name; about a third of the posts
HATLESS = 0.5  # of the pictures of the outfit with an optional hat
BACK, CHIBI = 0.05, 0.05
LONGER_HAIR, OTHER_EYES = ("eiko_draws",), ("gekkou", "hatsuyuki")  # artists who draw everybody so
SEASONS = ("christmas", "halloween", "valentine", "new_year")
OF_PLACE: dict[int, tuple[str, ...]] = {
    2: ("second_colour",),
    4: ("one_piece_less",),
    5: ("second_colour",),
    8: ("second_colour",),
}  # kinds by an outfit's place in the wardrobe
KEPT_TAGS = frozenset(
    {"1girl", "solo", "multiple_girls", "cosplay", "monochrome", "greyscale", "comic", "ai-generated"}
)
SORTS: tuple[tuple[str, ...], ...] = (
    tuple(f"{colour}_hair" for colour in cast.HAIR_COLOURS),
    tuple(f"{colour}_eyes" for colour in cast.EYE_COLOURS),
    *(cast.HAIR_STYLES, cast.BANGS, cast.ACCESSORIES, cast.FRAMINGS, cast.POSES, cast.EXPRESSIONS),
    *(
        tuple(f"{colour}_{noun}" for colour in cast.CLOTH_COLOURS)
        for noun in sorted({cast.GARMENT_NOUN.get(garment, garment) for garment in cast.GARMENTS})
    ),
    tuple(sorted({tag for tags in cast.GARMENT_TAGS.values() for tag in tags} | set(cast.GARMENT_HEADWEAR.values()))),
    tuple(sorted({tag for tags in cast.BACKGROUND_TAGS.values() for tag in tags})),
)  # of which a wrong tag stands for a right one


def build_hard_world(folder: Path, seed: int, characters: int, posts: int) -> None:
    """Draw a hard world into `folder`, whole or not at all: posts.jsonl, data/, characters.tsv, truth.json."""
    stars, extras = hard_cast(seed, characters)
    made: list[Post] = []
    for star in stars:
        made += posts_of_star(seed, star, [*(other.person for other in stars if other is not star), *extras], posts)
    rng = Random(derive_seed(seed, "demo", "order"))
    rng.shuffle(made)
    building.number(made, rng)
    people = [star.person for star in stars]
    with whole_folder(folder) as part:
        building.write_board(part, made)
        building.write_roster(part / "characters.tsv", people)
        write_json(part / "truth.json", hard_truth(seed, people, made))


def hard_truth(seed: int, stars: list[Character], made: list[Post]) -> dict[str, Any]:
    """The truth of `world.building`; of every post its kinds, of every character how many posts are of each.

    Whoever cosplays is themselves: keeping such a picture of the character is right, if it teaches none of their
    outfits, and dropping it is.
    """
    facts = building.truth(seed, stars, made)
    counts: dict[str, Counter[str]] = {star.name: Counter() for star in stars}
    for post in made:
        entry = facts["posts"][str(post.post_id)]
        entry["kinds"] = list(post.kinds)
        if "cosplays_another" in post.faults:
            entry["either_for"] = [person["character"] for person in post.people]
        for name in entry["query_of"]:
            if name in counts:
                counts[name].update(post.kinds)
    for name, numbers in counts.items():
        facts["characters"][name]["kinds"] = dict(sorted(numbers.items()))
    return {**facts, "level": "hard"}


def posts_of_star(seed: int, star: Star, others: list[Character], posts: int) -> list[Post]:
    """All posts that a search for the character's tag finds."""
    name = star.person.name

    def several(kind: str, number: int, draw: Callable[[Random, int], Post]) -> list[Post]:
        rngs = [Random(derive_seed(seed, name, f"{kind}/{index}")) for index in range(number)]
        return [hardened(rng, draw(rng, index), (kind,)) for index, rng in enumerate(rngs)]

    shares = {kind: max(1, round(share * posts)) for kind, share in SHARES.items()}
    copies = {fault: max(1, round(FAULTS[fault] * posts / 380)) for fault in COPIES}
    own = own_posts(seed, star, posts - sum(shares.values()) - sum(copies.values()), posts)
    person = star.person
    fans = several("fan_outfit", shares["fan_outfit"], lambda rng, k: one_off(rng, person, f"fan_outfit_{k}"))
    good = [*own, *fans]
    drawn = {
        "seasonal": lambda rng, k: seasonal(rng, person, f"seasonal_{k}"),
        "stranger": lambda rng, k: building.other_character(rng, person, others, good),
        "look_alike": lambda rng, k: building.other_character(rng, person, [star.look_alikes[k % 2]], good),
        "several_people": lambda rng, k: building.several_people(rng, person, others, good),
        "twin": lambda rng, k: with_twin(rng, star, others),
        "cosplays_another": lambda rng, k: cosplay(rng, star, [*others, *star.look_alikes], own=True),
        "cosplayed_by_another": lambda rng, k: cosplay(rng, star, [*others, *star.look_alikes], own=False),
    }
    made = [*own, *fans]
    for kind, draw in drawn.items():
        made += several(kind, shares[kind], draw)
    for fault, number in copies.items():
        made += several(fault, number, partial(a_fault, fault, person, others, good))
    return made


def a_fault(fault: str, star: Character, others: list[Character], good: list[Post], rng: Random, number: int) -> Post:
    return FAULT_POSTS[fault](rng, star, others, good)


def own_posts(seed: int, star: Star, number: int, posts: int) -> list[Post]:
    """Good pictures of the character: nine outfits with frequencies 1/k, and a tail down to one picture."""
    tail = [max(1, round(count * posts / USUAL)) for count in TAIL]
    weights = [1 / (place + 1) for place in range(len(star.frequent))]
    parts = [weight / sum(weights) * max(number - sum(tail), 0) for weight in weights]
    worn = [(outfit, max(1, round(part))) for outfit, part in zip(star.frequent, parts, strict=True)]
    worn += list(zip(star.rare, tail, strict=True))
    made = []
    for place, (outfit, count) in enumerate(worn):
        for index in range(count):
            rng = Random(derive_seed(seed, star.person.name, f"outfit {place}/{index}"))
            made.append(own_post(rng, star, outfit, place))
    return made


def own_post(rng: Random, star: Star, outfit: Outfit, place: int) -> Post:
    kinds = OF_PLACE.get(place, ())
    kinds += ("rare_outfit",) if outfit in star.rare else ()
    label = outfit.name
    if outfit is star.with_hat_or_without:
        hatless = rng.random() < HATLESS
        kinds += ("without_hat" if hatless else "with_hat",)
        outfit = replace(outfit, headwear=None if hatless else outfit.headwear)
    post = portrayed(rng, star.person, outfit, kinds)
    if place > 0 and rng.random() < OFFICIAL:
        post.characters = [*post.characters, f"{star.person.name}_({label})_(charaloom)"]
        post.kinds += ("official_name",)
    return hardened(rng, post)


def portrayed(rng: Random, somebody: Character, outfit: Outfit, kinds: Iterable[str] = ()) -> Post:
    """A good picture by an artist with habits, now and then from behind or as a chibi."""
    artist, style = building.artist_of(rng)
    drawn, off_model = as_drawn_by(artist, somebody)
    staging, background = cast.draw_staging(rng), rng.choice(cast.BACKGROUNDS)
    chance = rng.random()
    staging = replace(staging, back=chance < BACK, chibi=BACK <= chance < BACK + CHIBI)
    picture, people = building.render(rng, [(drawn, outfit, staging)], background, style, rng.choice(building.SIZES))
    extension = rng.choices(("png", "jpg", "webp"), (5, 4, 1))[0]
    tags = tags_seen(cast.picture_tags(drawn, outfit, staging, background, style), staging)
    views = [name for name, so in (("back_view", staging.back), ("chibi", staging.chibi)) if so]
    return Post(
        data=building.encode(picture, extension),
        extension=extension,
        size=picture.size,
        rating="g",
        general=[tag for tag in tags if tag in KEPT_TAGS or rng.random() >= FORGOTTEN_BEFORE],
        characters=[somebody.tag],
        artist=artist,
        people=people,
        faults=[],
        keep_for=[somebody.name],
        true_tags=tags,
        kinds=(*kinds, *off_model, *views),
    )


def as_drawn_by(artist: str, somebody: Character) -> tuple[Character, tuple[str, ...]]:
    """The character as an artist draws them, and what is off about it."""
    if artist in LONGER_HAIR and somebody.hair_style != "long_hair":
        return replace(somebody, hair_style="long_hair"), ("longer_hair",)
    if artist in OTHER_EYES:
        place = cast.EYE_COLOURS.index(somebody.eye_colour)
        return replace(somebody, eye_colour=cast.EYE_COLOURS[place - 1]), ("other_eyes",)
    return somebody, ()


def tags_seen(tags: list[str], staging: Staging) -> list[str]:
    """Of a picture's tags those that its view shows: from behind there is no face."""
    if staging.back:
        front = {*cast.BANGS, *cast.EXPRESSIONS, *cast.POSES, "blush", "looking_at_viewer", "looking_away"}
        front |= {"glasses", "eyepatch"}
        tags = [*(tag for tag in tags if tag not in front and not tag.endswith("_eyes")), "from_behind"]
    return [*tags, "chibi"] if staging.chibi else tags


def one_off(rng: Random, somebody: Character, label: str) -> Post:
    return portrayed(rng, somebody, foreign_outfit(rng, somebody, label))


def seasonal(rng: Random, somebody: Character, label: str) -> Post:
    post = one_off(rng, somebody, label)
    post.general = [*post.general, "alternate_costume", rng.choice(SEASONS)]
    return post


def with_twin(rng: Random, star: Star, others: list[Character]) -> Post:
    """Several people, the character's sister among them."""
    company = [star.twin, rng.choice(others)]
    post = building.several_people(rng, star.person, company, [])
    while star.twin.name not in {person["character"] for person in post.people}:
        post = building.several_people(rng, star.person, company, [])
    return post


def cosplay(rng: Random, star: Star, others: list[Character], own: bool) -> Post:
    """The character in another's clothes (`own`), or another in theirs; most of it untagged."""
    other = rng.choice(others)
    wearer, owner = (star.person, other) if own else (other, star.person)
    outfit = rng.choice(owner.outfits if not own else foreign(owner, star.person))
    post = portrayed(rng, wearer, replace(outfit, label=f"of_{owner.name}_{outfit.name}"))
    post.faults, post.keep_for = ["cosplays_another" if own else "cosplayed_by_another"], []
    untagged = rng.random() < UNTAGGED
    post.characters = [star.person.tag]
    if untagged:
        post.kinds += ("untagged_cosplay",)
    else:
        tags = [] if own else [wearer.tag]
        post.characters = [*tags, star.person.tag, f"{owner.name}_(charaloom)_(cosplay)"]
        post.general = [*post.general, "cosplay"]
    return post


def foreign(owner: Character, star: Character) -> list[Outfit]:
    """The owner's outfits that are none of the star's, so that the truth is one."""
    worn = {(outfit.garment, outfit.colour) for outfit in star.outfits}
    return [o for o in owner.outfits if (o.garment, o.colour) not in worn] or list(owner.outfits)


def hardened(rng: Random, post: Post, kinds: tuple[str, ...] = ()) -> Post:
    """The post with tags as real boards have them: more are forgotten, some are wrong."""
    forget = 1 - (1 - FORGOTTEN) / (1 - FORGOTTEN_BEFORE)
    general = [tag for tag in post.general if tag in KEPT_TAGS or rng.random() >= forget]
    general = [mistaken(rng, tag) if tag not in KEPT_TAGS and rng.random() < WRONG else tag for tag in general]
    own = post.kinds if post.parent is None else ()  # of a copy only that it is one
    return replace(post, general=list(dict.fromkeys(general)), kinds=tuple(dict.fromkeys((*own, *kinds))))


def mistaken(rng: Random, tag: str) -> str:
    """Another tag of the same sort, or itself where there is none."""
    rivals = next(([other for other in sort if other != tag] for sort in SORTS if tag in sort), [tag])
    return rng.choice(rivals)
