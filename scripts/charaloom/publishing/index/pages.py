"""The page of all characters, and the dataset of them: a card and a table that a hub's viewer shows."""

from pathlib import Path

from charaloom.artifacts.files import whole_file, whole_folder, write_text
from charaloom.artifacts.types import Row
from charaloom.publishing.cards.dataset_card import size_category
from charaloom.publishing.cards.markdown import code_span, escape_markdown, front_matter, link
from charaloom.publishing.index.rows import COLUMNS, share
from charaloom.tagging.captions import as_words

PAGE, FOLDER = "index.md", "index"  # below the results
TABLE = "characters.parquet"
HEAD = (
    "character",
    "trigger",
    "base model",
    "outfits",
    "pictures",
    "score",
    "recognised",
    "step",
    "version",
    "published",
    "",
)
MEANING = """`score` is the weighted mean by which the step was chosen; it depends on the character's outfits, so
compare it with care. `recognised` counts the previews of the chosen step, on the base model of the
training, that CCIP takes for the character, of `asked`; `pictures` are those trained on; `outfits`
have a trigger of their own; `weak` models are recognised no better than the base alone, or too
rarely; `version` stands in the model's card, `tag` is that of the published revision."""


def write_index(rows: list[Row], results: Path) -> list[Path]:
    """Write `index.md`, which links what lies beside it, and `index/`, a dataset for a hub; their paths."""
    page, folder = results / PAGE, results / FOLDER
    write_text(page, f"# Characters\n\n{summary(rows)}\n\n{table(rows, local=True)}\n")
    with whole_folder(folder) as part:
        write_table(rows, part / TABLE)
        write_text(part / "README.md", card(rows))
    return [page, folder / "README.md"]


def card(rows: list[Row]) -> str:
    """The card of the dataset that lists all characters."""
    head = front_matter(
        {
            "language": ["en"],
            "license": "cc0-1.0",
            "pretty_name": "Characters by Charaloom",
            "tags": ["charaloom", "anime", "character", "index"],
            "size_categories": [size_category(len(rows))],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": TABLE}]}],
        }
    )
    text = "One row per character, with links to the model and the dataset of each."
    return f"{head}# Characters by Charaloom\n\n{text} {summary(rows)}\n\n{table(rows)}\n\n## Columns\n\n{MEANING}\n"


def summary(rows: list[Row]) -> str:
    weak = sum(row["weak"] for row in rows)
    published = sum(row["tag"] is not None for row in rows)
    return f"Models: {len(rows)}; published: {published}; weak: {weak}. The best recognised come first."


def table(rows: list[Row], local: bool = False) -> str:
    lines = [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    lines += [f"| {' | '.join(cells(row, local))} |" for row in rows]
    return "\n".join(lines)


def cells(row: Row, local: bool) -> list[str]:
    """A row as Markdown; `local` links the character's folder beside the page, else its repositories."""
    name, folder = as_words(row["character"]), row["character"]
    model, dataset = (f"{folder}/{kind}/README.md" if local else row[kind] for kind in ("model", "dataset"))
    recognised = f"{row['recognised']} of {row['asked']} ({share(row):.0%})" if row["asked"] else "–"
    more = [link("report", f"{folder}/report.html")] if local else []
    more += [link("dataset", dataset)] if dataset else []
    values = [row["base_model"], row["outfits"], row["pictures"]]
    return [
        str(link(name, model) if model else escape_markdown(name)) + (" **weak**" if row["weak"] else ""),
        str(code_span(row["trigger"])),
        *(str(escape_markdown("–" if value is None else value)) for value in values),
        "–" if row["score"] is None else f"{row['score']:.3f}",
        recognised,
        str(escape_markdown("–" if row["step"] is None else row["step"])),
        str(code_span(row["version"])),
        str(code_span(row["tag"])) if row["tag"] else "–",
        ", ".join(map(str, more)) or "–",
    ]


def write_table(rows: list[Row], path: Path) -> None:
    """The rows as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS])
    with whole_file(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), part, compression="zstd")
