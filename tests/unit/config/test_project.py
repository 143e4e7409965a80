"""The config: merging, one-line errors, the roster, what each stage may know."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from charaloom.config.layers import DEFAULTS, config_files, read_config, warm_seconds
from charaloom.config.named_files import read_lock, read_removals
from charaloom.config.project import files_of_nobody, load_project, open_project
from charaloom.config.schemas import CODE, check, schema, written_out
from charaloom.config.stage_params import publish_params, stage_params
from charaloom.config.stages import STAGE_VERSION, STAGES
from charaloom.errors import CharaloomError
from charaloom.images.files import pictures_digest
from charaloom.weights import digests
from tests.small_bases import write_base

HEADER = "character\tsource\tquery\ttrigger\tage\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a roster of two characters and a base model."""
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures/hana", "pictures/mei", "config"):
        (tmp_path / folder).mkdir(parents=True)
    write_base(tmp_path / "base")
    roster("hana\tfolder\tpictures/hana\tflower girl\tadult", "mei\tfolder\tpictures/mei")
    overlay(
        bases={"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
        training={"base": "tiny"},
        previews={"bases": ["tiny"]},
    )
    return tmp_path


def roster(*rows: str, header: str = HEADER) -> None:
    Path("config/characters.tsv").write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")


def overlay(path: str = "config/config.yaml", **keys: Any) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(yaml.safe_dump(keys), encoding="utf-8")
    return Path(path)


def error(*overlays: Path) -> str:
    with pytest.raises(CharaloomError) as caught:
        load_project(overlays)
    return str(caught.value)


# --- the shipped files


def test_the_defaults_and_the_demo_obey_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CODE)
    small = Path("config/small.yaml")
    for files in ([DEFAULTS], [DEFAULTS, small], [DEFAULTS, small, Path("config/demo.yaml")]):
        check(read_config(files), "config", files)


def test_every_key_is_described_and_no_other_is_allowed() -> None:
    def walk(node: Any, path: str) -> None:
        if not isinstance(node, dict):
            return
        if "properties" in node:
            assert node.get("additionalProperties") is False, path
            for key, value in node["properties"].items():
                assert value.get("description") or value.get("$ref", "").startswith("#/$defs/settings"), f"{path}.{key}"
                walk(value, f"{path}.{key}")
        walk(node.get("additionalProperties"), f"{path}.*")
        walk(node.get("items"), f"{path}[]")

    for name in ("config", "roster", "removals", "character"):
        walk(schema(name), name)


def test_every_key_of_the_schema_has_its_default_in_the_config_file_only() -> None:
    text = (CODE / "config/schemas/config.schema.yaml").read_text()
    assert "default:" not in text
    defaults = read_config([DEFAULTS])
    for name, section in schema("config")["properties"].items():
        assert name in defaults or name == "demo"
        if name == "training":  # what a recipe says too stands in the recipes
            assert set(section["required"]) == set(defaults[name])
            assert set(section["properties"]) - set(section["required"]) == set(
                schema("config")["$defs"]["settings"]["properties"]
            )
        elif name in defaults and "properties" in section:
            assert set(section["properties"]) == set(section["required"]) == set(defaults[name]), name


def test_each_board_has_its_limit_in_the_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    boards = read_config([DEFAULTS])["boards"]
    for profile in ("local", "slurm"):
        limits = yaml.safe_load((CODE / f"profiles/{profile}/profile.v9+.yaml").read_text())["resources"]
        assert all(limits[f"board_{board}"] == 1 for board in boards)


# --- merging


def test_later_files_win_key_by_key(place: Path) -> None:
    more = overlay("more.yaml", filtered={"short_side": {"picture": 77}}, tagged={"blacklist": ["x"]})
    project = load_project([more])
    assert project.config["filtered"]["short_side"]["picture"] == 77
    assert project.config["filtered"]["area"] == read_config([DEFAULTS])["filtered"]["area"]
    assert project.config["tagged"]["blacklist"] == ["x"]
    assert project.config["training"]["base"] == "tiny"


def test_a_characters_own_warm_seconds_are_read_by_the_job_and_are_no_param(place: Path) -> None:
    before = stage_params(load_project(), "mei", "checkpoints")
    overlay("config/characters/mei.yaml", training={"warm_seconds": 7})
    project = load_project()
    assert warm_seconds(project.config, "mei") == 7
    assert warm_seconds(project.config, "hana") == read_config([DEFAULTS])["training"]["warm_seconds"] != 7
    assert stage_params(project, "mei", "checkpoints") == before


def test_a_character_has_keys_of_their_own(place: Path) -> None:
    overlay("config/characters/mei.yaml", filtered={"short_side": {"picture": 99}})
    project = load_project()
    assert stage_params(project, "mei", "filtered")["short_side"]["picture"] == 99
    assert stage_params(project, "hana", "filtered")["short_side"]["picture"] != 99


# --- one line for each mistake


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"filtered": {"short_sid": 3}}, ["more.yaml: filtered.short_sid", "did you mean `short_side`?"]),
        ({"colour": 3}, ["more.yaml: colour", "unknown key"]),
        ({"filtered": {"held_out": 1.5}}, ["more.yaml: filtered.held_out", "above 0.5"]),
        ({"filtered": {"held_out": 0}}, ["filtered.held_out", "not above 0"]),
        ({"training": {"steps": "many"}}, ["more.yaml: training.steps: 'many' is not a whole number"]),
        ({"training": {"steps": 10.5}}, ["training.steps: 10.5 is not a whole number"]),
        ({"training": {"steps": True}}, ["training.steps: True is not a whole number"]),
        ({"training": {"precision": "fp64"}}, ["training.precision: 'fp64' is not one of auto, fp32, fp16, bf16"]),
        ({"training": {"resolution": 500}}, ["training.resolution: 500 is not a multiple of 8"]),
        ({"training": None}, ["more.yaml: training: null is not a group of keys"]),
        ({"training": {"base": "tinny"}}, ["more.yaml: training.base", "did you mean `tiny`?"]),
        ({"previews": {"bases": ["huge"]}}, ["more.yaml: previews.bases", "'huge'", "tiny"]),
        ({"bases": {"tiny": {"path": "nowhere"}}}, ["more.yaml: bases.tiny.path", "'nowhere'", ".safetensors"]),
        ({"raw": {"ratings": ["general", "explicit"]}}, ["more.yaml: raw.ratings.1: 'explicit' is not one of"]),
        ({"boards": {"folder": {}}}, ["more.yaml: boards.folder"]),
        ({"boards": {"my board": {}}}, ["more.yaml: boards.my board", "a-z, 0-9"]),
        ({"boards": {"b": {"root": "http://me:canary@host"}}}, ["boards.b: an address", "CHARALOOM_B_API_KEY"]),
        ({"boards": {"b": {"file_roots": ["http://me:canary@host"]}}}, ["boards.b: an address", "CHARALOOM_B_API_KEY"]),
        ({"boards": {"b": {"dialect": "danbooru"}}}, ["more.yaml: boards.b: `root` is missing"]),
        ({"roster": "nowhere.tsv"}, ["nowhere.tsv", "`roster`"]),
        ({"removals": "nowhere.yaml"}, ["nowhere.yaml: there is no such file"]),
    ],
)
def test_a_mistake_is_reported_in_one_line(place: Path, keys: dict[str, Any], words: list[str]) -> None:
    message = error(overlay("more.yaml", **keys))
    assert "\n" not in message
    assert "canary" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(("text", "number"), [("1e-4", 0.0001), ("5E-3", 0.005), ("+.5e-1", 0.05), ("'0.25'", 0.25)])
def test_a_number_that_yaml_reads_as_text_is_one_where_the_schema_asks_for_it(
    place: Path, text: str, number: float
) -> None:
    Path("more.yaml").write_text(f"training: {{rate_unet: {text}}}\nrecipes: {{mine: {{rate_text: {text}}}}}\n")
    config = load_project(["more.yaml"]).config
    assert config["training"]["rate_unet"] == config["recipes"]["mine"]["rate_text"] == number
    Path("config/characters").mkdir()
    Path("config/characters/mei.yaml").write_text("training: {warm_seconds: 1e2, rate_unet: -1e5}\n")
    assert warm_seconds(config, "mei") == 100
    assert error() == "config/characters/mei.yaml: training.rate_unet: -100000.0 is below 0"


def test_a_whole_number_may_have_an_exponent_and_text_stays_text(place: Path) -> None:
    Path("more.yaml").write_text("training: {steps: 1e3, save_every: 2.0e+2}\ntagged: {blacklist: ['1e5']}\n")
    config = load_project(["more.yaml"]).config
    assert repr(config["training"]["steps"]) == "1000"
    assert repr(config["training"]["save_every"]) == "200"
    assert config["tagged"]["blacklist"] == ["1e5"]
    Path("more.yaml").write_text("training: {steps: 1e999}\n")
    assert error(Path("more.yaml")).startswith("more.yaml: training.steps: '1e999' is not a whole number")


def test_a_path_may_start_at_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    (place / "models").mkdir()
    more = overlay(
        "more.yaml", paths={"results": "~/out"}, bases={"tiny": {"path": "~/base"}}, models={"hub": "~/models"}
    )
    config = load_project([more]).config
    assert config["paths"]["results"] == f"{place}/out"
    assert config["bases"]["tiny"]["path"] == f"{place}/base"
    assert config["models"]["hub"] == f"{place}/models"


@pytest.mark.parametrize("folder", ["out {v1}", "out<1>", ""])
def test_a_folder_that_snakemake_cannot_name_is_refused(place: Path, folder: str) -> None:
    for key in ("results", "work"):
        message = error(overlay("more.yaml", paths={key: folder}))
        assert message.startswith(f"more.yaml: paths.{key}: {folder!r} is not allowed")


def test_broken_yaml_names_the_file_and_the_line(place: Path) -> None:
    Path("more.yaml").write_text("training: {steps: 3\nfiltered: 4\n")
    message = error(Path("more.yaml"))
    assert message.startswith("more.yaml: is no valid YAML")
    assert "line 2" in message
    assert "\n" not in message


def test_the_file_that_holds_the_mistake_is_named_not_the_last_one(place: Path) -> None:
    message = error(overlay("one.yaml", filtered={"short_sid": 3}), overlay("two.yaml", filtered={"held_out": 0.2}))
    assert message.startswith("one.yaml: filtered.short_sid")


def test_a_character_file_is_checked_too(place: Path) -> None:
    overlay("config/characters/mei.yaml", filtered={"short_sid": 3})
    assert error().startswith("config/characters/mei.yaml: filtered.short_sid: unknown key")
    overlay("config/characters/mei.yaml", seed=3)
    assert "seed: unknown key" in error()
    Path("config/characters/mei.yaml").unlink()
    overlay("config/characters/mai.yaml", filtered={})
    project = load_project()
    assert list(project.special) == []
    (line,) = files_of_nobody(project.config, project.characters)
    assert line.startswith("config/characters/mai.yaml: is not read")
    assert "did you mean `mei`?" in line


def test_previews_are_drawn_on_bases_of_the_family_that_is_trained(place: Path) -> None:
    write_base(place / "large", "sdxl")
    large = {"path": "large", "licence": "mit"}
    overlay("config/characters/mei.yaml", previews={"bases": ["tiny", "large"]})
    message = error(overlay("more.yaml", bases={"large": large}))
    assert message.endswith("previews.bases: 'large' is an sdxl base, 'tiny', which is trained on, is sd15")


def test_an_sdxl_base_skips_no_further_layer(place: Path) -> None:
    write_base(place / "large", "sdxl")
    message = error(overlay("more.yaml", bases={"tiny": {"path": "large", "family": "sdxl", "clip_skip": 1}}))
    assert "bases.tiny.clip_skip: 1 on a base of Stable Diffusion XL" in message
    assert message.endswith("which is what model cards call clip skip 2; set 0 or leave it out")


def test_a_base_that_only_one_character_uses_is_looked_for(place: Path) -> None:
    overlay("config/characters/mei.yaml", training={"base": "tny"})
    assert error().startswith("config/characters/mei.yaml: training.base: there is no base 'tny'; did you mean `tiny`?")


# --- the roster


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../hana\tfolder\tpictures/hana", ["line 2: character: '../hana' is not allowed", "a-z, 0-9"]),
        ("Hana\tfolder\tpictures/hana", ["line 2: character: 'Hana'"]),
        ("_hana\tfolder\tpictures/hana", ["line 2: character"]),
        (f"{'a' * 65}\tfolder\tpictures/hana", ["line 2: character"]),
        ("\tfolder\tpictures/hana", ["line 2: character: ''"]),
        ("hub\tfolder\tpictures/hana", ["line 2: character: 'hub'", "another name"]),
        ("scheduler_chan\tfolder\tpictures/hana", ["'scheduler_chan' holds 'scheduler'", "take another"]),
        ("hana\tdanboru\thana", ["line 2: source: 'danboru'", "did you mean `danbooru`?"]),
        ("hana\tfolder\tpictures/hanna", ["line 2: query", "'pictures/hanna'"]),
        ("hana\tfolder\t", ["line 2: query"]),
        ("hana\tfolder\tpictures/hana\t\t17", ["line 2: age: '17' is not one of adult, minor, unknown"]),
        ("hana\tfolder\tpictures/hana\tgirl, blue\t", ["line 2: trigger"]),
        ("hana\tfolder\tpictures/hana\tHana_embroidered", ["'hana_emb'", "another `trigger`"]),
        ("hana\tfolder\tpictures/hana\t\t\tmore", ["line 2: 6 columns"]),
    ],
)
def test_a_bad_row_is_reported_in_one_line(place: Path, row: str, words: list[str]) -> None:
    roster(row)
    message = error()
    assert message.startswith("config/characters.tsv: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_no_trigger_holds_the_word_of_another_characters_embedding(place: Path) -> None:
    roster("hana\tfolder\tpictures/hana", "hana_ember\tfolder\tpictures/mei")
    assert "'hana_ember_charaloom' holds 'hana_emb'" in error()


def test_a_name_may_stand_there_once(place: Path) -> None:
    roster("hana\tfolder\tpictures/hana", "# a comment", "", "hana\tfolder\tpictures/mei")
    assert "line 5: character: 'hana' is there twice" in error()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("character\tsource\tqery\n", ["line 1", "'qery'", "did you mean `query`?"]),
        ("character source query\n", ["line 1", "tabs"]),
        ("character\tsource\n", ["line 1", "'query' is missing"]),
        ("character\tsource\tquery\tquery\n", ["line 1", "twice"]),
    ],
)
def test_a_bad_header_is_reported(place: Path, header: str, words: list[str]) -> None:
    roster("hana\tfolder\tpictures/hana", header=header)
    message = error()
    for word in words:
        assert word in message


def test_an_empty_roster_says_what_to_do(place: Path) -> None:
    for text in (HEADER, "", "# nobody\n"):
        Path("config/characters.tsv").write_text(text)
        assert "holds no character yet" in error()
        assert open_project(read_config(config_files()), []).characters == {}


def test_rosters_as_spreadsheets_write_them(place: Path) -> None:
    text = "\ufeff" + HEADER + 'hana\tfolder\tpictures/hana\t"quoted" girl\tadult\n'
    Path("config/characters.tsv").write_bytes(text.replace("\n", "\r\n").encode())
    hana = load_project().characters["hana"]
    assert (hana.query, hana.trigger, hana.age) == ("pictures/hana", '"quoted" girl', "adult")


def test_what_a_row_leaves_out(place: Path) -> None:
    mei = load_project().characters["mei"]
    assert (mei.trigger, mei.age) == ("mei_charaloom", "unknown")


# --- what each stage may know


def test_params_are_sorted_json_with_a_version(place: Path) -> None:
    project = load_project()
    for stage in STAGES:
        params = (
            publish_params(project, "hana", "folder") if stage == "published" else stage_params(project, "hana", stage)
        )
        assert json.loads(json.dumps(params)) == params
        assert params["version"] == STAGE_VERSION[stage]
        assert str(place) not in json.dumps(params)
    assert list(stage_params(project, "hana", "filtered")) == sorted(stage_params(project, "hana", "filtered"))


@pytest.mark.parametrize(
    ("keys", "changed"),
    [
        ({"filtered": {"identity": 0.2}}, {"filtered"}),
        ({"raw": {"limit": 7}}, {"raw"}),
        ({"training": {"steps": 7}}, {"checkpoints"}),
        ({"measured": {"threads": 2}}, set()),
        ({"seed": 7}, {"filtered", "clustered", "outfits", "checkpoints", "previews"}),
        ({"bases": {"tiny": {"licence": "x"}}}, {"model"}),
        ({"paths": {"results": "elsewhere"}}, set()),
    ],
)
def test_a_key_reaches_only_the_stages_that_read_it(place: Path, keys: dict[str, Any], changed: set[str]) -> None:
    before = load_project()
    after = load_project([overlay("more.yaml", **keys)])
    different = {stage for stage in STAGES if stage_params(before, "hana", stage) != stage_params(after, "hana", stage)}
    assert different == changed


def test_sources_and_ratings(place: Path) -> None:
    roster("hana\tdanbooru\thana_(x)\t\tadult", "mei\tdanbooru\tmei_(x)", "rin\tfolder\tpictures/mei\t\tadult")
    project = load_project([overlay("more.yaml", raw={"ratings": ["general", "sensitive"]})])
    raw = stage_params(project, "hana", "raw")
    (source,) = raw["sources"]
    assert (source["kind"], source["name"], source["query"]) == ("board", "danbooru", "hana_(x)")
    (source,) = stage_params(project, "rin", "raw")["sources"]
    assert source == {"kind": "folder", "path": "pictures/mei", "content": pictures_digest("pictures/mei")}
    filtered = {name: stage_params(project, name, "filtered") for name in project.characters}
    assert filtered["hana"]["ratings"] == ["general", "sensitive"]
    assert filtered["mei"]["ratings"] == ["general"]
    assert filtered["hana"]["tag"] == "hana_(x)"
    assert filtered["rin"]["tag"] is None


def own(**values: object) -> Path:
    """A file of hana's own."""
    return overlay("config/characters/hana.yaml", **values)


def test_further_sources_of_a_character(place: Path) -> None:
    roster("hana\tdanbooru\thana_(x)")
    Path("set.zip").write_bytes(b"one")
    entries = [{"board": "gelbooru", "query": "hana_(x)", "quota": 50}, {"folder": "pictures"}, {"archive": "set.zip"}]
    own(sources=entries)
    sources = stage_params(load_project(), "hana", "raw")["sources"]
    assert [source["kind"] for source in sources] == ["board", "board", "folder", "archive"]
    assert (sources[1]["name"], sources[1]["query"], sources[1]["quota"]) == ("gelbooru", "hana_(x)", 50)
    before = sources[3]["content"]
    Path("set.zip").write_bytes(b"two")
    assert stage_params(load_project(), "hana", "raw")["sources"][3]["content"] != before


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ({"board": "gelboru", "query": "x"}, ["sources.0.board: 'gelboru'", "did you mean `gelbooru`?"]),
        ({"board": "gelbooru"}, ["`query` is missing"]),
        ({"query": "x"}, ["a source is one of board, folder, archive, video, dataset, waifuc"]),
        ({"folder": "pictures", "video": "x.mp4"}, ["here is folder and video"]),
        ({"archive": "nowhere.zip"}, ["there is no 'nowhere.zip'"]),
        ({"folder": "pictures", "query": "x"}, ["only a board has a query"]),
        ({"flder": "pictures"}, ["flder: unknown key", "did you mean `folder`?"]),
        ({"board": "gelbooru", "query": "x", "quota": 0}, ["quota", "0 is below 1"]),
        ({"dataset": "owner/name"}, ["there is no 'owner/name'", "also give its `revision`"]),
        ({"dataset": "owner", "revision": "main"}, ["'owner' is no repository of the hub"]),
        ({"dataset": "owner/name", "revision": "--x"}, ["revision"]),
        ({"folder": "pictures", "revision": "main"}, ["only a dataset of the hub has it"]),
        ({"waifuc": {"args": []}}, ["`class` is missing"]),
        ({"waifuc": {"class": "os.system('x')"}}, ["waifuc.class"]),
        ({"waifuc": {"class": "X", "args": ["https://me:canary@x.example"]}}, ["an address holds an account"]),
        ({"waifuc": {"class": "X", "options": {"api_key": "canary"}}}, ["api_key: {env: CHARALOOM_WAIFUC_API_KEY}"]),
    ],
)
def test_a_source_that_is_wrong_is_named(place: Path, entry: dict[str, object], parts: list[str]) -> None:
    roster("hana\tdanbooru\thana_(x)")
    own(sources=[entry])
    with pytest.raises(CharaloomError) as error:
        load_project()
    assert "config/characters/hana.yaml" in str(error.value)
    for part in parts:
        assert part in str(error.value)
    assert "canary" not in str(error.value)


def test_sources_that_are_fetched_from_the_hub_or_by_waifuc(place: Path) -> None:
    roster("hana\tdanbooru\thana_(x)")
    asked = {"class": "DanbooruSource", "args": [["hana"]], "options": {"api_key": {"env": "KEY"}}}
    own(sources=[{"dataset": "owner/name", "revision": "main", "files": ["*.zip"]}, {"waifuc": asked, "quota": 5}])
    _, dataset, waifuc = stage_params(load_project(), "hana", "raw")["sources"]
    hub = {"hub": "https://huggingface.co", "repo": "owner/name", "revision": "main", "files": ["*.zip"]}
    assert dataset == {"kind": "dataset", **hub}
    assert waifuc == {"kind": "waifuc", "waifuc": asked, "quota": 5}


@pytest.mark.parametrize("rule", ["problem", "not_a_candidate", "rating", "rating_model"])
def test_a_missing_obligatory_rule_is_named(place: Path, rule: str) -> None:
    rules = [name for name in read_config([DEFAULTS])["filtered"]["rules"] if name != rule]
    with pytest.raises(CharaloomError, match=rf"filtered\.rules: `{rule}` is missing"):
        load_project([overlay("more.yaml", filtered={"rules": rules})])


@pytest.mark.parametrize(("variants", "hana", "mei"), [(None, True, False), (True, True, True), (False, False, False)])
def test_variants_are_kept_in_folders_unless_the_config_says(place: Path, variants: Any, hana: bool, mei: bool) -> None:
    roster("hana\tfolder\tpictures/hana", "mei\tdanbooru\tmei")
    project = load_project([overlay("more.yaml", filtered={"variants": variants})])
    kept = [stage_params(project, name, "filtered")["variants"] for name in ("hana", "mei")]
    assert kept == [hana, mei]


def test_an_archive_of_pictures_has_no_place_in_a_dataset_of_links(place: Path) -> None:
    with pytest.raises(CharaloomError, match=r"dataset\.kohya: an archive of pictures"):
        load_project([overlay("more.yaml", dataset={"kohya": True, "pictures": "links"})])


def test_the_gate_knows_age_ratings_and_removals(place: Path) -> None:
    roster("hana\tfolder\tpictures/hana\t\tadult", "mei\tfolder\tpictures/mei")
    overlay("config/removals.yaml", artists=["a"])
    project = load_project([overlay("more.yaml", raw={"ratings": ["general", "sensitive"]})])
    policies = {name: publish_params(project, name, "folder")["policy"] for name in ("hana", "mei")}
    read_removals.cache_clear()
    assert (policies["hana"]["ratings"], policies["hana"]["blocked"]) == (["general", "sensitive"], [])
    assert policies["mei"]["ratings"] == ["general"]
    assert "swimsuit" in policies["mei"]["blocked"]
    assert policies["mei"]["removals"]["artists"] == ["a"]
    assert all(stage_params(project, "mei", stage)["policy"]["age"] == "unknown" for stage in ("dataset", "model"))


def test_removals_reach_raw_only(place: Path) -> None:
    overlay("config/removals.yaml", posts=["danbooru:5"], artists=["b", "a"])
    raw = stage_params(load_project(), "hana", "raw")
    assert raw["removals"] == {"posts": ["danbooru:5"], "artists": ["a", "b"]}
    read_removals.cache_clear()


def test_the_training_base_draws_first(place: Path) -> None:
    for name in ("other", "third"):
        write_base(Path(name))
    bases = {name: {"path": name, "family": "sd15", "clip_skip": 0, "licence": "x"} for name in ("other", "third")}
    more = overlay("more.yaml", bases=bases, training={"base": "third"}, previews={"bases": ["other", "third"]})
    params = stage_params(load_project([more]), "hana", "previews")
    assert [base["name"] for base in params["bases"]] == ["third", "other"]


def test_a_folder_is_known_by_its_pictures_and_what_is_written_beside_them(place: Path) -> None:
    deep = Path("pictures/hana/more/deep")
    deep.mkdir(parents=True)
    empty = pictures_digest("pictures/hana")
    (deep / "a.png").write_bytes(b"12")
    one = pictures_digest("pictures/hana")
    (deep / "a.txt").write_text("red")
    red = pictures_digest("pictures/hana")
    (deep / "a.txt").write_text("tan")
    assert len({empty, one, red, pictures_digest("pictures/hana")}) == 4
    (deep / "a.txt").write_text("red")
    (deep / "Thumbs.db").write_text("x")
    os.utime(deep / "a.png", (1, 1))
    assert pictures_digest("pictures/hana") == red


def test_no_file_is_read_once_more_for_each_character(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    opening = open

    def counted(file: Any, *arguments: Any, **settings: Any) -> Any:
        opened.append(str(file))
        return opening(file, *arguments, **settings)

    def files_read(number: int) -> list[str]:
        roster(*(f"c{index}\tdanbooru\tc{index}" for index in range(number)))
        read_removals.cache_clear()
        read_lock.cache_clear()
        opened.clear()
        with monkeypatch.context() as patched:
            patched.setattr("builtins.open", counted)
            patched.setattr("io.open", counted)
            project = load_project()
            for name in project.characters:
                for stage in STAGES:
                    stage_params(project, name, stage)
        return sorted(opened)

    monkeypatch.setattr(digests, "SETTLED_SECONDS", -1.0)  # old enough for their digests to be kept
    files_read(2)
    assert len(files_read(2)) >= 5
    assert files_read(500) == files_read(2)


@pytest.fixture(autouse=True)
def fresh_caches() -> None:
    read_removals.cache_clear()
    read_lock.cache_clear()


# --- base models


def test_a_path_is_enough_for_a_base(place: Path) -> None:
    write_base(Path("large"), "sdxl")
    scheduler = Path("large/scheduler/scheduler_config.json")
    settings = json.loads(scheduler.read_text()) | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    scheduler.write_text(json.dumps(settings))
    own = overlay("more.yaml", bases={"x": {"path": "large"}}, training={"base": "x"}, previews={"bases": ["x"]})
    base = stage_params(load_project([own]), "hana", "previews")["bases"][0]
    known = {key: base[key] for key in ("family", "prediction", "zero_snr", "clip_skip", "sampler")}
    assert known == {
        "family": "sdxl",
        "prediction": "v_prediction",
        "zero_snr": True,
        "clip_skip": 0,
        "sampler": "Euler",
    }


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"family": "sdxl"}, ["`family` is sdxl, but base says sd15"]),
        ({"prediction": "v_prediction"}, ["`prediction` is v_prediction, but base says epsilon"]),
        ({"zero_snr": True}, ["`zero_snr` is true, but base says false"]),
        ({"digest": "0" * 64}, ["its SHA-256 is", "`bases.tiny.digest` asks for 000"]),
        ({"path": None, "repo": None}, ["needs `path`, or `repo` and `family`"]),
        ({"path": None, "repo": "a/b", "family": None}, ["needs `family`"]),
        ({"path": "tiny.ckpt"}, ["tiny.ckpt", "a pickle"]),
        ({"vae": "nowhere.safetensors"}, ["bases.tiny.vae: 'nowhere.safetensors' does not exist"]),
    ],
)
def test_what_a_base_says_must_be_so(place: Path, said: dict[str, Any], words: list[str]) -> None:
    Path("tiny.ckpt").write_bytes(b"\x80\x02}q\x00.")
    message = error(overlay("more.yaml", bases={"tiny": said}))
    assert "\n" not in message
    for word in ["more.yaml: bases.tiny", *words]:
        assert word in message


def test_nan_in_a_base_is_found_before_a_stage_runs(place: Path) -> None:
    weights = Path("base/unet/diffusion_pytorch_model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-2:] = b"\x00\x7e"  # NaN in fp16
    weights.write_bytes(content)
    assert "of its UNet holds NaN or infinity" in error()


def test_ready_bases_fit_each_other(place: Path) -> None:
    defaults = read_config([DEFAULTS])
    own = {"training": defaults["training"], "previews": {"bases": defaults["previews"]["bases"]}}
    params = stage_params(load_project([overlay("more.yaml", **own)]), "hana", "previews")
    assert {base["family"] for base in params["bases"]} == {"sdxl"}
    assert [base["prediction"] for base in params["bases"]] == ["epsilon", "v_prediction", "epsilon"]


def test_a_folder_named_like_a_variable_is_meant_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert written_out("$HOME/pictures") == "/home/somebody/pictures"
    assert written_out("~/pictures") == "/home/somebody/pictures"
    (tmp_path / "$HOME" / "pictures").mkdir(parents=True)
    assert written_out("$HOME/pictures") == "$HOME/pictures"
