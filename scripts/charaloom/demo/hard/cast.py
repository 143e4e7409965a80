"""Who lives in a hard world: stars with a wardrobe of alike outfits, and people who can be taken for them."""

from dataclasses import dataclass, replace
from random import Random

from charaloom.artifacts.seeds import derive_seed
from charaloom.demo.world import cast
from charaloom.demo.world.cast import GARMENT_HEADWEAR, PIECES, Character, Outfit, draw_character, draw_outfit

FREQUENT = 9  # outfits with frequencies 1/k
TAIL = (8, 4, 2, 1)  # pictures of the outfits after them, where there are 600 posts
OPTIONAL_HATS = ("witch", "coat")  # garments whose headwear the stand-in tagger sees or misses by itself
EXTRAS = 6  # people who are nobody's double


@dataclass(frozen=True)
class Star:
    """A character of a hard world with the people who are like them."""

    person: Character
    look_alikes: tuple[Character, ...]  # share hair colour and hair style, or hair colour and eyes
    twin: Character  # shares hair and eyes, not the accessory

    @property
    def with_hat_or_without(self) -> Outfit:
        return self.person.outfits[3]

    @property
    def frequent(self) -> tuple[Outfit, ...]:
        return self.person.outfits[:FREQUENT]

    @property
    def rare(self) -> tuple[Outfit, ...]:
        return self.person.outfits[FREQUENT:]


def hard_cast(seed: int, characters: int) -> tuple[list[Star], list[Character]]:
    """The stars of a world and the people who are like none of them."""
    names = Random(derive_seed(seed, "demo", "names")).sample(cast.GIVEN_NAMES, len(cast.GIVEN_NAMES))
    people = cast.draw_cast(Random(derive_seed(seed, "demo", "cast")), characters + EXTRAS)
    people = [replace(person, name=name) for person, name in zip(people, names, strict=False)]
    stars = []
    for number, person in enumerate(people[:characters]):
        rng = Random(derive_seed(seed, person.name, "wardrobe"))
        dressed = replace(person, outfits=wardrobe(rng))
        doubles = names[characters + EXTRAS + 3 * number :][:3]
        stars.append(Star(dressed, look_alikes(rng, dressed, doubles[:2]), twin_of(rng, dressed, doubles[2])))
    return stars, people[characters:]


def wardrobe(rng: Random) -> tuple[Outfit, ...]:
    """Nine outfits and a tail. Every third shares its garment with another in a second colour; the fifth is the second
    without one piece; the fourth is worn with its hat or without."""
    pieced = rng.choice(tuple(PIECES))
    hatted = rng.choice([garment for garment in OPTIONAL_HATS if garment != pieced])
    others = rng.sample([garment for garment in cast.GARMENTS if garment not in (pieced, hatted)], 3 + len(TAIL))
    first, second, fourth = (draw_outfit(rng, garment) for garment in (others[0], pieced, hatted))
    fifth = replace(second, without=PIECES[pieced], label=f"{second.name}_without_{PIECES[pieced]}")
    seventh, eighth = (draw_outfit(rng, garment) for garment in others[1:3])
    thirds = [in_another_colour(rng, outfit) for outfit in (first, fourth, seventh)]
    nine = (first, second, thirds[0], fourth, fifth, thirds[1], seventh, eighth, thirds[2])
    return (*nine, *(draw_outfit(rng, garment) for garment in others[3:]))


def in_another_colour(rng: Random, outfit: Outfit) -> Outfit:
    other = draw_outfit(rng, outfit.garment)
    while other.colour == outfit.colour:
        other = draw_outfit(rng, outfit.garment)
    return other


def look_alikes(rng: Random, star: Character, names: list[str]) -> tuple[Character, ...]:
    """Somebody with the star's hair colour and hair style, and somebody with the star's hair colour and eyes."""
    found = []
    for name in names:
        somebody = draw_character(rng, name)
        while (
            somebody.accessory == star.accessory
            or somebody.hair_style == star.hair_style
            or somebody.eye_colour == star.eye_colour
        ):
            somebody = draw_character(rng, name)
        found.append(replace(somebody, hair_colour=star.hair_colour))
    by_style, by_eyes = found
    return replace(by_style, hair_style=star.hair_style), replace(by_eyes, eye_colour=star.eye_colour)


def twin_of(rng: Random, star: Character, name: str) -> Character:
    """A sister with the same hair and eyes, another accessory and other bangs, in other clothes."""
    own = draw_character(rng, name)
    while own.accessory == star.accessory or own.bangs == star.bangs:
        own = draw_character(rng, name)
    return replace(
        own, hair_colour=star.hair_colour, hair_style=star.hair_style, eye_colour=star.eye_colour, tall=star.tall
    )


def foreign_outfit(rng: Random, star: Character, label: str) -> Outfit:
    """Clothes that are none of the star's: of a fan, for one picture."""
    worn = {(outfit.garment, outfit.colour) for outfit in star.outfits}
    outfit = draw_outfit(rng)
    while (outfit.garment, outfit.colour) in worn:
        outfit = draw_outfit(rng)
    headwear = rng.choice((outfit.headwear, *GARMENT_HEADWEAR.values())) if rng.random() < 0.3 else outfit.headwear
    return replace(outfit, headwear=headwear, label=label)
