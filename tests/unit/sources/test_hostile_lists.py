"""Answers as a stranger would make them: whatever a list holds, a dialect gives posts or says that it is no list."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charaloom.artifacts.tables import POST
from charaloom.images.decoding import Limits
from charaloom.sources.boards.answers import NotAListError, moment
from charaloom.sources.boards.dialect import Cursor
from charaloom.sources.boards.gallery_dl import found as found_by_gallery_dl
from charaloom.sources.boards.listing import DIALECTS, file_problem, has_term
from charaloom.sources.posts import Rules
from charaloom.sources.sites import Site
from tests.servers import boards

KEYS = (
    "id", "rating", "score", "fav_count", "created_at", "source", "sources", "md5", "hash", "file_url", "tags", "file",
    "tag_string", "tag_string_general", "directory", "image", "status", "parent_id", "width", "height", "file_size",
    "flags", "relationships", "contentUrl", "safety", "type", "creationTime", "checksumMD5", "representations", "size",
    "format", "file_ext", "is_banned", "tag", "full", "date", "file_name", "change", "faves", "source_url", "ext",
)  # fmt: skip
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["s", "\ud800", "//["])
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
ROWS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=12).map(lambda row: {"id": 5, **row})
WRAPPED = ("posts", "post", "items", "results", "images")


class NoWeb:
    def refusal(self, url):
        return None


def check(result):
    """A post fits the table, and the rules can judge it."""
    import pyarrow as pa

    pa.array([result.post], POST)
    Rules(frozenset({"general"}), Limits()).refusal(result.post)
    file_problem(result, NoWeb(), result.post["rating"], Rules(frozenset({"general"}), Limits()))
    has_term(result, "-x")


@pytest.mark.parametrize("name", DIALECTS)
@given(rows=st.lists(ROWS, max_size=3), wrapped=st.sampled_from((None, *WRAPPED)), tags=VALUES)
@settings(max_examples=20, deadline=None)
def test_any_rows_are_posts_or_no_list(name, rows, wrapped, tags):
    dialect = DIALECTS[name]
    body = json.dumps({wrapped: rows, "tags": tags} if wrapped else rows).encode()
    try:
        page = dialect.page(body)
    except NotAListError:
        return
    for row in page.rows:
        check(dialect.found(row, "demo", "https://board.example", "hana solo"))
        dialect.request("https://board.example", "hana", Cursor(1, 3, 5))


@pytest.mark.parametrize("name", DIALECTS)
@given(body=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=20, deadline=None)
def test_any_body_is_a_page_or_no_list(name, body):
    dialect = DIALECTS[name]
    for reads in (dialect.page, dialect.names, dialect.count):
        try:
            reads(body)
        except NotAListError:
            continue


@given(row=ROWS, address=st.text(max_size=10))
@settings(max_examples=40, deadline=None)
def test_any_row_of_gallery_dl_is_a_post(row, address):
    check(found_by_gallery_dl(row, address, Site("demo", "https://board.example", 0.0, "x")))


@given(row=ROWS)
@settings(max_examples=20, deadline=None)
def test_any_detail_of_zerochan_is_a_post(row):
    zerochan = DIALECTS["zerochan"]
    first = zerochan.found({"id": 5}, "demo", "https://board.example", "x")
    check(zerochan.detailed(first, json.dumps(row).encode(), "https://board.example"))


def test_entities_of_xml_are_refused():
    bomb = (
        b'<!DOCTYPE posts [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><posts><post id="1" tags="&b;"/></posts>'
    )
    for name in ("shimmie", "gelbooru_v02"):
        with pytest.raises(NotAListError):
            DIALECTS[name].page(bomb)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1735689600, "2025-01-01T00:00:00+00:00"),
        ("Wed Jan 01 00:00:00 -0600 2025", "2025-01-01T00:00:00-06:00"),
        ("2025-01-01 00:00:00", "2025-01-01T00:00:00"),
        ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        (10**17, None),
        (None, None),
        ([], None),
    ],
)
def test_moments(value, expected):
    assert moment(value) == expected


def test_every_dialect_has_a_board_in_the_tests():
    assert {kind.dialect for kind in boards.DIALECTS} == set(DIALECTS)
