"""E621 and E926: Danbooru's requests, answers of their own; `s` is safe."""

from charaloom.sources.boards.answers import Row, inner, json_of, member, whole
from charaloom.sources.boards.danbooru import Danbooru
from charaloom.sources.boards.dialect import SAFE_RATINGS, Found, Page, made, rating_of
from charaloom.sources.posts import is_number

HIDDEN = ("invalid", "lore")  # kinds of tags that say nothing about the picture


class E621(Danbooru):
    terms = 40
    page_size = 320

    def page(self, body: bytes) -> Page:
        return Page([row for row in member(json_of(body), "posts") if is_number(row.get("id"))])

    def found(self, row: Row, site: str, root: str, query: str) -> Found:
        post_id = str(row["id"])
        sources = row.get("sources")
        kinds = row.get("tags") if isinstance(row.get("tags"), dict) else {}
        parent = whole(inner(row, "relationships", "parent_id"))
        other = [tag for kind in kinds if kind not in (*HIDDEN, *NAMED) for tag in as_list(kinds[kind])]
        post = made(
            root,
            site=site,
            post_id=post_id,
            page_url=f"{root}/posts/{post_id}",
            file_url=inner(row, "file", "url"),
            md5=inner(row, "file", "md5"),
            rating=rating_of(row.get("rating"), SAFE_RATINGS),
            score=inner(row, "score", "total"),
            favourites=row.get("fav_count"),
            parent_id=str(parent) if parent else None,
            created=row.get("created_at"),
            source=sources[0] if isinstance(sources, list) and sources else None,
            artists=as_list(kinds.get("artist")),
            tags_general=[*as_list(kinds.get("general")), *other],
            tags_character=as_list(kinds.get("character")),
            tags_copyright=as_list(kinds.get("copyright")),
            tags_meta=as_list(kinds.get("meta")),
        )
        return Found(
            post,
            width=whole(inner(row, "file", "width")),
            height=whole(inner(row, "file", "height")),
            size=whole(inner(row, "file", "size")),
            extension=str(inner(row, "file", "ext") or "").lower(),
            gone="no file: deleted by the board" if inner(row, "flags", "deleted") is True else None,
        )


NAMED = ("artist", "general", "character", "copyright", "meta")


def as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
