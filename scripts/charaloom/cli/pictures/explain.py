"""`charaloom explain`: everything known of one picture, from its posts to its place in the dataset.

Reads the rows of that picture only, and never its bytes. Names the stages that have not run yet.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from charaloom.artifacts.files import read_json, sha256_file
from charaloom.artifacts.tables import read_rows, with_pictures
from charaloom.artifacts.types import Row
from charaloom.cli.text import counted
from charaloom.config.named_files import read_removals
from charaloom.config.project import Project, load_project
from charaloom.config.roster import FOLDER
from charaloom.config.schemas import suggestion
from charaloom.errors import CharaloomError
from charaloom.images.files import SIDE_ENDINGS, ending, normalised, printable, read_folder, shown_name
from charaloom.pages.standing import results_of
from charaloom.pages.verdicts import explain, numbers, other_reasons, reason_words, short_name

Tables = dict[str, list[Row] | None]  # rows of the picture by stage; None where the stage has not run

LEAST_DIGITS = 6  # of a SHA-256 that is given in part
MOST_NAMED = 5  # pictures that an error names where an id fits several
CHARACTERS_CLUSTER = 0  # identity_cluster of the character
KINDS = {"picture": "the picture", "person": "a person in it", "halfbody": "a half body", "head": "a head"}
READ: dict[str, list[str] | None] = {  # columns by stage; None: all, for they are small
    "raw": ["picture", "size", "format", "problem", "posts"],
    "measured": ["view", "kind", "problem", "width", "height", "confidence"],
    "filtered": None,
    "tagged": ["view", "tags", "dropped"],
    "clustered": ["view", "outfit", "stability", "caption"],
}


def explain_picture(overlays: list[Path], character: str | None, wanted: str) -> int:
    """Print everything known of a picture of a character, or of the one who has it where none is named. `wanted` is a
    file, the name of one, a SHA-256 or the beginning of one, a post or a view.

    Raises CharaloomError where the roster has no such character, or `wanted` fits no picture, or several.
    """
    project = load_project(overlays)
    if character is None:
        character = owner_of(project, wanted)
    if character not in project.characters:
        raise CharaloomError(
            f"{character}: is not in {project.config['roster']}{suggestion(character, project.characters)}"
        )
    raw = results_of(project, character) / "raw.parquet"
    reason = why_unused(project, character, wanted)
    if reason and not (raw.is_file() and matching(read_posts(raw), wanted)):
        print(printable(reason))
    else:
        told = "\n".join(story(raw.parent, picture_of(project, character, wanted)))
        print("\n".join(map(printable, told.splitlines())))
    return 0


# --- which picture


def owner_of(project: Project, wanted: str) -> str:
    """The one character who has a picture, or a file that was not used."""
    owners = [name for name in project.characters if has(project, name, wanted)]
    if len(owners) == 1:
        return owners[0]
    if not owners:
        raise CharaloomError(f"{wanted}: fits no picture of any character; `charaloom explain CHARACTER` says more")
    raise CharaloomError(f"{wanted}: {', '.join(owners)} have such a picture; name the character before it")


def has(project: Project, name: str, wanted: str) -> bool:
    raw = results_of(project, name) / "raw.parquet"
    return bool(why_unused(project, name, wanted)) or (raw.is_file() and bool(matching(read_posts(raw), wanted)))


def why_unused(project: Project, character: str, wanted: str) -> str | None:
    """One line for a file of the user's that is no picture of the tables; None where it is none of these."""
    files = results_of(project, character) / "raw.files.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        for name, why in read_json(files)["unused"]:
            if same_file(name, wanted):
                return printable(f"{name}: not used: {why}")
    return None


def same_file(name: str, wanted: str) -> bool:
    """Whether a file by its place in a folder is what a person names, by its name or by a path to it."""
    ours, theirs = Path(normalised(name)).parts, Path(normalised(wanted)).parts
    length = min(len(ours), len(theirs))
    return length > 0 and ours[-length:] == theirs[-length:]


def picture_of(project: Project, character: str, wanted: str) -> str:
    """SHA-256 of the one picture that `wanted` fits; raises CharaloomError where none or several do."""
    raw = results_of(project, character) / "raw.parquet"
    if not raw.is_file():
        raise CharaloomError(f"{raw}: is not there yet; `charaloom run` makes it")
    posts = read_posts(raw)
    fitting = matching(posts, wanted) or described(project, character, wanted, posts)
    if not fitting:
        raise CharaloomError(
            f"{wanted}: fits no picture of {character}. Looked among {counted(len(posts), 'picture')} of {raw} for a "
            f"file, its name, the first {LEAST_DIGITS} digits or more of a SHA-256, a post id, <site>:<post id>. "
            f"{why_missing(project, character, wanted)}"
        )
    if len(fitting) > 1:
        more = f" and {len(fitting) - MOST_NAMED} more" if len(fitting) > MOST_NAMED else ""
        names = ", ".join(fitting[:MOST_NAMED])
        raise CharaloomError(f"{wanted}: fits {len(fitting)} pictures, say which: {names}{more}")
    return fitting[0]


def described(project: Project, character: str, wanted: str, posts: dict[str, list[Row]]) -> list[str]:
    """The pictures of a folder that a file beside them describes."""
    person = project.characters[character]
    if person.source != FOLDER or ending(wanted) not in SIDE_ENDINGS or not Path(person.query).is_dir():
        return []
    beside = read_folder(person.query).beside
    names = [picture for picture, sides in beside.items() if any(same_file(shown_name(side), wanted) for side in sides)]
    return [found for name in names for found in matching(posts, shown_name(name))]


def read_posts(raw: Path) -> dict[str, list[Row]]:
    """Site and id of the posts of every picture."""
    import pyarrow.parquet as pq

    columns = ["picture", "posts.list.element.site", "posts.list.element.post_id"]
    return {row["picture"]: row["posts"] or [] for row in pq.ParquetFile(raw).read(columns).to_pylist()}


def matching(posts: dict[str, list[Row]], wanted: str) -> list[str]:
    """The picture with a file's content; else pictures of a post with this id; else those whose SHA-256 begins with it,
    of a view's id the picture; else those whose file has this name."""
    if Path(wanted).is_file() and (content := sha256_file(wanted)) in posts:
        return [content]
    by_post = [
        picture
        for picture, own in posts.items()
        if any(normalised(wanted) in map(normalised, names_of(post)) for post in own)
    ]
    if by_post:
        return by_post
    name = wanted.partition("/")[0]
    if name in posts:
        return [name]
    prefix = name.lower() if len(name) >= LEAST_DIGITS else wanted
    begun = [picture for picture in posts if picture.startswith(prefix)] if len(prefix) >= LEAST_DIGITS else []
    return begun or [
        picture for picture, own in posts.items() if any(same_file(post["post_id"], wanted) for post in own)
    ]


def names_of(post: Row) -> tuple[str, str]:
    """By what a person may name a post."""
    return post["post_id"], f"{post['site']}:{post['post_id']}"


def why_missing(project: Project, character: str, wanted: str) -> str:
    """The likely reason that an id fits nothing, and what to do about it."""
    removals = read_removals(project.config["removals"]).get("removals", {})
    removed = [entry for kind in ("posts", "pictures") for entry in removals.get(kind, [])]
    if any(entry == wanted or entry.endswith(f":{wanted}") for entry in removed):
        return f"{project.config['removals']} lists it: it is excluded on request."
    for name in project.characters:
        if name != character and has(project, name, wanted):
            return f"{name} has it: charaloom explain {name} {wanted}"
    if Path(wanted).is_file():
        return "The file is there: it is newer than the last run, or lies in no folder of theirs."
    return "A post that is newer than the last crawl, or beyond raw.limit, is absent."


# --- what is known of it


def story(folder: Path, picture: str) -> Iterator[str]:
    tables: Tables = {stage: rows_of(folder / f"{stage}.parquet", picture, READ[stage]) for stage in READ}
    files = dataset_files(with_pictures(folder / "dataset") / "data", picture)
    raw = (tables["raw"] or [{}])[0]
    yield picture
    for post in raw["posts"] or []:
        yield from post_lines(post)
    yield line("file", file_words(raw, tables["measured"] or []))
    groups = duplicate_groups(folder / "filtered.parquet", tables["filtered"] or [])
    for row in sorted(tables["filtered"] or tables["measured"] or [], key=reading_order):
        yield ""
        yield from view_lines(row, tables, groups, files or {})
    yield from missing_lines(tables, files)


def rows_of(table: Path, picture: str, columns: list[str] | None) -> list[Row] | None:
    """A table's rows of one picture."""
    return list(read_rows(table, "picture", [picture], columns)) if table.is_file() else None


def reading_order(row: Row) -> tuple[int, str]:
    """The picture, then the persons in it, then their parts."""
    return list(KINDS).index(row["kind"]), row["view"]


def line(label: str, text: str) -> str:
    return f"  {label:<11} {printable(text)}"


def post_lines(post: Row) -> Iterator[str]:
    yield line("post", " ".join(filter(None, [f"{post['site']}:{post['post_id']}", post["page_url"]])))
    artists = ", ".join(post["artists"] or []) or "unknown"
    score = "none" if post["score"] is None else post["score"]
    yield line("", f"artist {artists}; rating {post['rating'] or 'none'}; board's score {score}")


def file_words(raw: Row, measured: list[Row]) -> str:
    whole = next((row for row in measured if row["kind"] == "picture"), {})
    size = f"{raw['size']} bytes" if raw["size"] is not None else None
    pixels = f"{whole['width']} x {whole['height']} pixels" if whole.get("width") else None
    problem = raw["problem"] or whole.get("problem")
    return ", ".join(filter(None, [raw["format"], pixels, size, problem])) or "nothing is known of the file"


def view_lines(row: Row, tables: Tables, groups: dict[str, list[str]], files: dict[str, str]) -> Iterator[str]:
    """One view: its place, its verdict, and, if it is kept, its tags, outfit and caption."""
    yield f"{short_name(row['view'])}  {place_words(row, row_of(tables['measured'], row['view']))}"
    if "verdict" not in row:
        return
    yield line("verdict", verdict_words(row))
    for reason in other_reasons(row):
        yield line("also", f"{reason_words(reason)}: {explain(reason['rule'])}")
    if row.get("scores"):
        yield line("numbers", ", ".join(map(reason_words, row["scores"])))
    if row["duplicate_group"]:
        yield line("duplicates", duplicate_words(row, groups[row["duplicate_group"]]))
    if row["identity_distance"] is not None:
        yield line("identity", identity_words(row))
    if row["verdict"] == "keep":
        yield from kept_lines(row["view"], tables, files)


def row_of(rows: list[Row] | None, view: str) -> Row | None:
    return next((row for row in rows or [] if row["view"] == view), None)


def place_words(row: Row, measured: Row | None) -> str:
    kind = KINDS[row["kind"]]
    if measured is None or not measured["width"]:
        return kind
    size = f"{kind}, {measured['width']} x {measured['height']} pixels"
    at = f" at {row['x0']},{row['y0']}" if row.get("x0") is not None else ""
    if measured["confidence"] is None:
        return f"{size}{at}"
    return f"{size}{at}, detected with confidence {measured['confidence']:.2f}"


def verdict_words(row: Row) -> str:
    if row["verdict"] == "keep":
        return "kept, held out" if row["split"] == "held_out" else "kept, to train"
    measured = numbers(row)
    return f"dropped by {row['rule']}{f' {measured}' if measured else ''}: {explain(row['rule'])}"


def duplicate_groups(filtered: Path, rows: list[Row]) -> dict[str, list[str]]:
    """Members of the duplicate groups of these rows, by the group's best view."""
    import pyarrow.parquet as pq

    bests = sorted({row["duplicate_group"] for row in rows if row["duplicate_group"]})
    if not bests:
        return {}
    members = pq.read_table(
        filtered, columns=["view", "duplicate_group"], filters=[("duplicate_group", "in", bests)]
    ).to_pylist()
    return {best: sorted(row["view"] for row in members if row["duplicate_group"] == best) for best in bests}


def duplicate_words(row: Row, group: list[str]) -> str:
    others = ", ".join(short_name(view) for view in group if view not in (row["view"], row["duplicate_group"]))
    if row["duplicate_group"] != row["view"]:
        return f"a copy of {short_name(row['duplicate_group'])}{f', as are {others}' if others else ''}"
    return f"the best of {len(group)}; the others: {others}" if others else "none"


def identity_words(row: Row) -> str:
    cluster = cluster_words(row["identity_cluster"])
    return f"{cluster}, distance {row['identity_distance']:.4f} to the character's cluster"


def cluster_words(cluster: int | None) -> str:
    if cluster == CHARACTERS_CLUSTER:
        return "the character"
    return "in no cluster" if cluster is None or cluster < 0 else f"cluster {cluster}"


def kept_lines(view: str, tables: Tables, files: dict[str, str]) -> Iterator[str]:
    tagged, clustered = row_of(tables["tagged"], view), row_of(tables["clustered"], view)
    if tagged:
        yield line("tags", ", ".join(f"{tag['name']} {tag['score']:.2f} ({tag['origin']})" for tag in tagged["tags"]))
        yield line("left out", ", ".join(f"{tag['name']} ({tag['reason']})" for tag in tagged["dropped"]) or "none")
    if clustered:
        stability = f", stability {clustered['stability']:.2f}" if clustered["stability"] is not None else ""
        yield line("outfit", f"{clustered['outfit']}{stability}" if clustered["outfit"] else "none")
        yield line("caption", clustered["caption"])
    if view in files:
        yield line("dataset", files[view])


def dataset_files(data: Path, picture: str) -> dict[str, str] | None:
    """Shard and file name in the dataset by view; None where there is no dataset yet."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not data.is_dir():
        return None
    names = {}
    for shard in sorted(data.glob("*.parquet")):
        table = pq.ParquetFile(shard).read(["view", "picture", "image.path"])
        for row in table.filter(pc.equal(table["picture"], picture)).to_pylist():
            names[row["view"]] = f"data/{shard.name}: {row['image']['path']}"
    return names


def missing_lines(tables: Tables, files: dict[str, str] | None) -> Iterator[str]:
    """Stages that have not run, and those that ran before this picture was fetched."""
    absent = [stage for stage, rows in tables.items() if rows is None]
    if files is None:
        absent.append("dataset")
    if absent:
        yield f"\nnot made yet: {', '.join(absent)}"
    kept = {row["view"] for row in tables["filtered"] or [] if row["verdict"] == "keep"}
    old = [stage for stage in ("measured", "filtered") if tables[stage] == []]
    for stage in ("tagged", "clustered"):
        rows = tables[stage]
        if rows is not None and kept > {row["view"] for row in rows}:
            old.append(stage)
    if old:
        yield f"\nolder than this picture: {', '.join(old)}; `charaloom run` renews them"
