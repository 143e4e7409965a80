"""The cards of a dataset repository, one per language, and the pictures of its outfits that they show."""

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from charaloom.artifacts.files import safe_name, write_text
from charaloom.artifacts.tables import read_table
from charaloom.artifacts.types import PathLike, Row
from charaloom.publishing.cards.markdown import front_matter, plain
from charaloom.publishing.cards.snippets import HERE, KOHYA, loading_codes
from charaloom.publishing.cards.texts import LANGUAGES, render, words_of
from charaloom.publishing.content import SPLITS, shard_rows
from charaloom.tagging.captions import as_words

SIZES = (  # rows below which the hub calls a dataset so
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
)
SAMPLES = "samples"  # folder of the outfits' pictures
SAMPLE_SIZE = (384, 384)  # pixels, at most
ARTISTS_NAMED = 50  # on the card; the rows name all
MODEL = "../model/README.md"  # the model's card, where no hub has it
DIGITS = 12  # of a digest
COLUMNS = ("image", "caption", "tags", "outfit", "repeats", "picture", "pixels_sha256", "masked", "rating", "sharpness")


def funnel(filtered: PathLike) -> Row:
    """Pictures, views, kept views, and how many views each rule dropped, most first."""
    rows = read_table(filtered, ["picture", "kind", "verdict", "rule"])
    training = [row for row in rows if row["rule"] != "not_a_candidate"]
    dropped = Counter(row["rule"] for row in training if row["verdict"] == "drop")
    return {
        "pictures": len({row["picture"] for row in rows}),
        "views": len(training),
        "kept": sum(row["verdict"] == "keep" for row in rows),
        "dropped": sorted(dropped.items(), key=lambda item: (-item[1], item[0])),
    }


def provenance(raw: PathLike, views: list[Row]) -> Row:
    """Of the kept pictures: how many, posts by site, and artists with their pictures, most first."""
    names = {view["picture"] for view in views}
    rows = [row for row in read_table(raw, ["picture", "posts"]) if row["picture"] in names]
    posts = [post for row in rows for post in row["posts"] or []]
    artists = Counter(
        artist
        for row in rows
        for artist in sorted({name for post in row["posts"] or [] for name in post["artists"] or []})
    )
    return {
        "sites": sorted(Counter(post["site"] for post in posts).items()),
        "artists": sorted(artists.items(), key=lambda item: (-item[1], item[0])),
        "pictures": len(names),
    }


@dataclass(frozen=True)
class DatasetCard:
    """What a card is made of."""

    character: str
    content: str  # digest of what is trained on
    outfits: Row  # outfits.json
    core: list[Row]  # core tags of core.json
    views: list[Row]  # clustered.parquet
    counts: Row  # rows by split
    funnel: Row
    sources: Row
    resolution: int  # pixels of a side: the square of it is the area that larger pictures are reduced to
    samples: Mapping[str, str] = field(default_factory=dict)  # by outfit, a picture of the repository
    repositories: Mapping[str, str] | None = None  # on a hub: `model`, `dataset`, `endpoint`; None without one
    contact: str = ""  # for requests of removal
    minor: bool = False  # whether the character is not known to be an adult
    pictures: bool = True  # whether the rows hold them, and not links alone
    archive: str | None = None  # for kohya's trainers, in the repository

    @property
    def repo(self) -> str:
        return self.repositories["dataset"] if self.repositories else HERE

    @property
    def model(self) -> str:
        """Where the model's card is read."""
        return f"{self.repositories['endpoint']}/{self.repositories['model']}" if self.repositories else MODEL


def write_samples(folder: Path, outfits: Row) -> dict[str, str]:
    """A small picture of each trained outfit that has one among the training rows, below `folder`; paths by outfit.

    Of an outfit's representatives the first that trains; it is read from the shards, so it is what they hold.
    """
    from PIL import Image

    wanted = {
        view: (outfit["id"], place)
        for outfit in outfits["outfits"]
        if outfit["trained"]
        for place, view in enumerate(outfit["representatives"])
    }
    best: dict[str, tuple[int, bytes]] = {}
    for row in shard_rows(folder / "data", "train", ("view",)) if wanted and has_pictures(folder) else ():
        outfit, place = wanted.get(row["view"], ("", 0))
        if outfit and row["image"] and row["image"]["bytes"] and place < best.get(outfit, (len(wanted), b""))[0]:
            best[outfit] = place, row["image"]["bytes"]
    paths = {}
    for outfit, (_, data) in sorted(best.items()):
        paths[outfit] = f"{SAMPLES}/{safe_name(outfit)}.webp"
        (folder / SAMPLES).mkdir(exist_ok=True)
        with Image.open(io.BytesIO(data)) as image:
            image.thumbnail(SAMPLE_SIZE)
            image.convert("RGB").save(folder / paths[outfit], "WEBP", quality=85)
    return paths


def has_pictures(folder: Path) -> bool:
    """Whether the shards of a dataset hold pictures, and not links alone."""
    import pyarrow.parquet as pq

    return all("image" in pq.read_schema(shard).names for shard in (folder / "data").glob("train-*.parquet"))


def write_dataset_cards(card: DatasetCard, folder: Path) -> None:
    """Write README.md, which a hub shows, and the card of each other language beside it.

    Whether there are pictures, and an archive, is read from `folder`.
    """
    archive = next((f"{KOHYA}/{path.name}" for path in sorted((folder / KOHYA).glob("*.zip"))), None)
    whole = replace(card, pictures=has_pictures(folder), archive=archive)
    for language, file in LANGUAGES.items():
        write_text(folder / file, card_text(whole, language))


def card_text(card: DatasetCard, language: str = "en") -> str:
    """The card in one language; the English one begins with what a hub reads."""
    head = metadata(card) if LANGUAGES[language] == "README.md" else ""
    return head + render("dataset_card.md.j2", language, card_facts(card, language))


def card_facts(card: DatasetCard, language: str) -> Row:
    """What the template prints."""
    named, more = card.sources["artists"][:ARTISTS_NAMED], card.sources["artists"][ARTISTS_NAMED:]
    rules = words_of(language)["rules"]
    return {
        "card": card,
        "title": as_words(card.character),
        "content": card.content[:DIGITS],
        "core": [(as_words(row["tag"]), f"{row['share']:.0%}") for row in card.core],
        "outfits": outfit_rows(card),
        "untrained": [outfit["name"] for outfit in card.outfits["outfits"] if not outfit["trained"]],
        "rules": [(rules.get(rule, as_words(rule)), count) for rule, count in card.funnel["dropped"]],
        "codes": list(loading(card)),
        "kohya": KOHYA,
        "columns": [*COLUMNS, "posts"] if card.pictures else ["url", *COLUMNS[1:], "posts"],
        "artists": named,
        "more": len(more),
    }


def loading(card: DatasetCard) -> Iterator[tuple[str, str, str]]:
    """(key of the texts, language, code) of each way to load the rows."""
    for program, (language, code) in loading_codes(card.repo, card.outfits["trigger"]).items():
        if program == "polars" and not card.pictures:
            yield "polars_links", language, code
        elif program != KOHYA or (card.pictures and not card.archive):
            yield program, language, code


def outfit_rows(card: DatasetCard) -> list[Row]:
    """The outfits that have a trigger."""
    pictures = Counter(view["outfit"] for view in card.views if view["split"] == "train")
    return [
        {
            "name": outfit["name"],
            "trigger": outfit["trigger"],
            "pictures": pictures[outfit["id"]],
            "tags": ", ".join(as_words(row["tag"]) for row in outfit["signature"]),
            "sample": card.samples.get(outfit["id"]),
        }
        for outfit in card.outfits["outfits"]
        if outfit["trained"]
    ]


def metadata(card: DatasetCard) -> str:
    """The front matter, by which a hub finds the rows and shows what they are."""
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in SPLITS]
    return front_matter(
        {
            "language": ["en"],
            "license": "other",
            "license_name": "as-in-source",
            "pretty_name": f"{plain(as_words(card.character))}, a character dataset by Charaloom",
            "task_categories": ["text-to-image"],
            "tags": ["charaloom", "anime", "character", "art", "image"],
            "size_categories": [size_category(len(card.views))],
            "configs": [{"config_name": "default", "data_files": files}],
        }
    )


def size_category(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "100K<n<1M")
