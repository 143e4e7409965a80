"""The command: its tables, its estimate, what it reads of Snakemake's output, and the scores of a known small world."""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from charaloom import __main__ as cli
from charaloom.artifacts.files import write_json
from charaloom.artifacts.tables import CLUSTERED, FILTERED, RAW, write_table
from charaloom.cli import progress, status, text
from charaloom.cli.needs import needs_table
from charaloom.cli.snakemake import Snakemake, find_profile, jobs_in, planning_error
from charaloom.config.project import CODE, load_project
from charaloom.config.stages import STAGES
from charaloom.demo.commands import demo, verify
from charaloom.demo.scores import stages as scoring
from charaloom.errors import CharaloomError
from charaloom.pages import standing
from charaloom.pages.status import write_status_page

# --- the command line


def test_a_mistake_of_the_user_is_one_line(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("filtered: {short_sid: 3}\n")
    assert cli.main(["status", "--configfile", "bad.yaml"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Error: bad.yaml: filtered.short_sid: unknown key; did you mean `short_side`?\n"


def test_the_command_line_of_snakemake(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    options = cli.parser().parse_args(["run", "--configfile", "a.yaml", "--cores", "3", "--", "--keep-going"])
    snakemake = Snakemake(options.configfile, options.profile, options.cores, extra=options.snakemake)
    command = snakemake.command(["stage_raw"])
    assert command[1:5] == ["-m", "snakemake", "stage_raw", "--snakefile"]
    assert command[command.index("--configfile") + 1] == str(tmp_path / "a.yaml")
    assert command[command.index("--profile") + 1] == str(CODE / "profiles" / "local")
    assert command[-1] == "--keep-going"


def test_profiles_are_found_by_name_and_by_path(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_profile("slurm") == find_profile("profiles/slurm") == str(CODE / "profiles" / "slurm")
    with pytest.raises(CharaloomError, match="demo, local, slurm"):
        find_profile("slrum")


def test_cores_below_one_are_refused(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["run", "--cores", "0"])
    assert "0 is below 1" in capsys.readouterr().err


# --- Snakemake's output


def test_jobs_are_read_from_the_table_of_a_dry_run() -> None:
    lines = [
        "Job stats:",
        "job            count",
        "-----------  -------",
        "raw                2",
        "all                1",
    ]
    assert jobs_in([*lines, "total              3", *lines]) == {"raw": 2}
    assert jobs_in(["Nothing to be done (all requested files are present and up to date)."]) == {}


def test_the_one_line_of_an_error_is_found() -> None:
    assert planning_error(["Using profile", "Error: x.yaml: seed: 'a' is not a whole number"]) == (
        "x.yaml: seed: 'a' is not a whole number"
    )
    assert "boom" in planning_error(["first", "boom"])


# --- progress


def test_the_estimate_learns_from_measurements(tmp_path: Path) -> None:
    (tmp_path / "hana").mkdir()
    (tmp_path / "hana" / "raw.jsonl").write_text('{"s": 10.0}\n{"s": 20.0}\n')
    (tmp_path / "hana" / "measured.jsonl").write_text("{half a li")
    estimate = progress.Estimate(tmp_path, {"raw": 4, "measured": 4}, parallel=2)
    assert estimate.of_stage("raw") == 30
    assert estimate.of_stage("measured") == 2 * progress.TYPICAL["measured"]
    assert estimate.remaining(["measured"], "raw", elapsed=10) == 20 + estimate.of_stage("measured")


def test_the_estimate_keeps_this_machines_pace(tmp_path: Path) -> None:
    estimate = progress.Estimate(tmp_path, {"measured": 1, "previews": 1}, parallel=1)
    estimate.finished("measured", 3 * progress.TYPICAL["measured"])
    assert estimate.of_stage("previews") == pytest.approx(3 * progress.TYPICAL["previews"])


def test_times_and_counts_as_people_read_them() -> None:
    assert text.clock(65) == "1:05"
    assert text.clock(3723) == "1:02:03"
    assert text.about(20) == "under a minute"
    assert text.about(300) == "about 5 min"
    assert (text.counted(1, "job"), text.counted(2, "job"), text.counted(0, "job")) == ("1 job", "2 jobs", "0 jobs")


def test_the_last_line_of_the_newest_log(tmp_path: Path) -> None:
    (tmp_path / "hana").mkdir()
    assert progress.latest_line(tmp_path, "raw", 0) == ""
    (tmp_path / "hana" / "raw.log").write_text("one\nstep 1/9\rstep 2/9\n\n")
    assert progress.latest_line(tmp_path, "raw", 0) == "step 2/9"
    assert progress.latest_line(tmp_path, "raw", 2**40) == ""


# --- the table


@pytest.fixture
def project(tmp_path: Path, monkeypatch: Any) -> Any:
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures", "base", "config"):
        (tmp_path / folder).mkdir()
    (tmp_path / "config/characters.tsv").write_text("character\tsource\tquery\nhana\tfolder\tpictures\n")
    write_json(
        tmp_path / "config/config.yaml",
        {
            "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
            "training": {"base": "tiny"},
            "previews": {"bases": ["tiny"]},
        },
    )
    return load_project()


def test_the_table_says_what_is_next(project: Any) -> None:
    lines = status.status_table(project).splitlines()
    assert lines[0].split() == list(status.COLUMNS)
    assert "not finished: raw is next" in lines[1]


COUNTS = {"raw": {"rows": 6}, "filtered": {"kept": 4}, "clustered": {"trained": 1}}


def finish_stages(project: Any, until: str = "report") -> None:
    for stage in STAGES[: STAGES.index(until) + 1]:
        for path in standing.stage_outputs(project, "hana", stage):
            write_json(path, {"counts": COUNTS.get(stage, {})})


def log_of(stage: str, content: str) -> None:
    log = Path("work/logs/hana") / f"{stage}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(content)


@pytest.mark.parametrize(
    ("log", "cell"),
    [
        ("step 1/9\n\nError: hana: 3 usable pictures\n", "failed in tagged: hana: 3 usable pictures"),
        ("Traceback (most recent call last):\n  File x\nlib.Broken: no\n\n", "failed in tagged: lib.Broken: no"),
        ("Error: one picture\nstep 2/9\n", "not finished: tagged is running, or was stopped"),
        (None, "not finished: tagged is next"),
    ],
)
def test_the_table_says_what_failed_and_why(project: Any, log: str | None, cell: str) -> None:
    finish_stages(project, "curation")
    if log is not None:
        log_of("tagged", log)
    assert status.status_table(project).splitlines()[1].endswith(cell)


def test_the_last_line_counts_everybody(project: Any) -> None:
    finish_stages(project, "curation")
    assert status.status_table(project).splitlines()[-1] == "1 character: 1 waiting"
    log_of("tagged", "Error: no\n")
    assert status.status_table(project).splitlines()[-1] == "1 character: 1 failed (tagged)"


def test_a_broken_artifact_is_a_dash_and_no_traceback(project: Any) -> None:
    finish_stages(project)
    Path("results/hana/raw.manifest.json").write_text("half a li")
    assert standing.numbers_of(Path("results/hana"))["seen"] is None
    assert status.status_table(project).splitlines()[1].split()[:3] == ["hana", text.NOTHING, "4"]


def test_the_page_names_who_failed_and_escapes_why(project: Any) -> None:
    finish_stages(project, "curation")
    for name in ("curation", "previews"):
        Path(f"results/hana/{name}.html").write_text("x")
    log_of("tagged", "Error: <script>alert(1)</script>\n")
    page = write_status_page(project).read_text()
    assert "tagged: &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'href="../work/logs/hana/tagged.log"' in page
    assert 'href="hana/curation.html"' in page
    assert 'href="hana/previews.html"' in page
    assert "report.html" not in page


def test_the_table_of_a_finished_character(project: Any) -> None:
    make_results(Path("results/hana"))
    finish_stages(project)
    row = status.row_of(project, standing.standing(project, "hana"))
    assert row == {
        "character": "hana",
        "seen": "6",
        "kept": "4",
        "outfits": "1",
        "checkpoint": "step-000100",
        "recognised": "1 of 2",
        "report": "results/hana/report.html",
    }


# --- scores


POSTS: dict[str, Any] = {
    "1": {"keep_for": ["hana"], "faults": [], "worn": "kimono"},
    "2": {"keep_for": ["hana"], "faults": [], "worn": "dress"},
    "3": {"faults": ["reencoded_duplicate"], "duplicate_of": 1, "worn": "kimono"},
    "4": {"faults": ["other_character"], "who": "mei"},
    "5": {"faults": ["several_people"], "either_for": ["hana", "mei"], "worn": "dress"},
    "6": {"faults": ["monochrome"], "worn": "dress"},
}
KEPT = {"1", "3", "4", "5"}


def truth() -> dict[str, Any]:
    posts = {}
    for name, fact in POSTS.items():
        person = {"character": fact.get("who", "hana"), "outfit": fact.get("worn"), "box": [0, 0, 10, 10]}
        people = [person, {"character": "mei", "outfit": "suit", "box": [50, 0, 60, 10]}] if name == "5" else [person]
        posts[name] = {"keep_for": [], "either_for": [], "duplicate_of": None, **fact, "people": people}
    return {"seed": 9, "posts": posts, "characters": {}}


def make_results(folder: Path, keeping: set[str] = KEPT) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    raw = [{"picture": f"p{name}", "posts": [{"site": "demo", "post_id": name}]} for name in POSTS]
    write_table(folder / "raw.parquet", raw, RAW, "picture", {})
    box = {"x0": 0, "y0": 0, "x1": 10, "y1": 10, "kind": "picture"}
    views = [
        {"view": f"p{name}/picture/0", "picture": f"p{name}", "verdict": "keep" if name in keeping else "drop", **box}
        for name in POSTS
    ]
    write_table(folder / "filtered.parquet", views, FILTERED, "view", {})
    outfits = [
        {"view": f"p{name}/picture/0", "picture": f"p{name}", "outfit": "a" if name == "1" else None}
        for name in keeping
    ]
    write_table(folder / "clustered.parquet", outfits, CLUSTERED, "view", {})
    write_json(folder / "outfits.json", {"outfits": [{"id": "a", "trained": True}, {"id": "b", "trained": False}]})
    numbers = {"checkpoint": "step-000100", "recognised": 1, "asked": 2}
    per_base = [
        {"base": "other", "with_lora": {"recognised": 2, "asked": 2}, "without_lora": None},
        {"base": "tiny", "with_lora": numbers, "without_lora": {"recognised": 0, "asked": 2}},
    ]
    chosen = {"base": "tiny", "chosen": "step-000100", "checkpoints": [numbers], "per_base": per_base}
    write_json(folder / "selection.json", chosen)


def test_scores_of_a_small_world(tmp_path: Path) -> None:
    make_results(tmp_path / "hana")
    write_json(tmp_path / "truth.json", truth())
    scores = scoring.scored(tmp_path, tmp_path / "truth.json", ["hana"])
    # Right: drawing 1. Wrong: its copy 3 kept as well, and 4. Missed: 2. Picture 5 shows her, so it counts for nothing.
    assert scores["seed"] == 9
    assert scores["filter"]["precision"] == round(1 / 3, 4)
    assert scores["filter"]["recall"] == 0.5
    assert scores["filter"]["by_fault"] == {
        "monochrome": {"total": 1, "found": 1},
        "other_character": {"total": 1, "found": 0},
        "reencoded_duplicate": {"total": 1, "found": 0},
        "several_people": {"total": 1, "found": 0},
    }
    assert scores["outfits"]["pictures"] == 3
    assert scores["previews"]["recognised"] == 0.5
    assert scores["previews"]["recognised_without_lora"] == 0
    assert scores["characters"]["hana"]["filter"] == scores["filter"]
    assert "0.333" in scoring.score_tables(scores)
    json.dumps(scores, allow_nan=False)


def test_the_copy_kept_instead_of_the_original_is_as_good(tmp_path: Path) -> None:
    make_results(tmp_path / "hana", keeping={"2", "3"})
    write_json(tmp_path / "truth.json", truth())
    scores = scoring.scored(tmp_path, tmp_path / "truth.json", ["hana"])
    assert scores["filter"]["precision"] == scores["filter"]["recall"] == 1
    assert scores["filter"]["by_fault"]["reencoded_duplicate"] == {"total": 1, "found": 1}


def test_a_crop_of_somebody_else_is_wrong() -> None:
    people = truth()["posts"]["5"]["people"]
    assert scoring.shown({"x0": 0, "y0": 0, "x1": 11, "y1": 10}, people) == "hana"
    assert scoring.shown({"x0": 45, "y0": 0, "x1": 62, "y1": 12}, people) == "mei"


# --- the demo


def test_another_seed_has_folders_of_its_own(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/demo.yaml").write_text((CODE / "config/demo.yaml").read_text())
    assert demo.overlays_of(None) == demo.overlays_of(1) == [demo.CONFIG]
    world = demo.World(demo.overlays_of(7))
    assert world.settings["seed"] == 7
    assert world.settings["posts"] == demo.World([demo.CONFIG]).settings["posts"]
    assert (world.results, world.work) == (Path("results/demo-7"), Path("work/demo-7"))
    assert world.folder == Path("work/demo-7/world")


def test_the_board_serves_while_it_is_open_and_no_longer(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "posts.jsonl").write_text(json.dumps({"id": 1, "tag_string": "hana_(x)", "rating": "g"}) + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = f"http://127.0.0.1:{port}"
    with demo.board(tmp_path, root):
        with urllib.request.urlopen(f"{root}/posts.json?tags=hana_(x)", timeout=20) as answer:
            assert [post["id"] for post in json.load(answer)] == [1]
        with pytest.raises(CharaloomError, match=f"port {port} is in use"), demo.board(tmp_path, root):
            pass
    assert not demo.taken(port)


def test_a_board_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(CharaloomError, match="did not start"),
        demo.board(tmp_path / "nowhere", "http://127.0.0.1:18999"),
    ):
        pass


def test_a_difference_is_found(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "2")):
        (tmp_path / name / "results/hana").mkdir(parents=True)
        (tmp_path / name / "results/hana/x.json").write_text(content)
        (tmp_path / name / "results/hana/y.json").write_text("same")
    first, second = verify.digests(tmp_path / "a"), verify.digests(tmp_path / "b")
    different = {name for name in first if first[name] != second[name]}
    assert different == {"results/hana/x.json"}
    assert "DIFFERENT" in verify.equality_table(sorted(first), different)


def test_what_a_stage_needed_is_told_from_benchmark_files(tmp_path: Path) -> None:
    (tmp_path / "hana").mkdir()
    (tmp_path / "hana" / "raw.jsonl").write_text('{"s": 60.0, "max_rss": 512.0}\n{"s": 3723, "max_rss": 2048}\n')
    (tmp_path / "hana" / "published-folder.jsonl").write_text('{"s": 0.1, "max_rss": "NA"}\n')
    (tmp_path / "hana" / "tagged.jsonl").write_text('{"s": 1')
    rows = {line.split()[0]: line.split()[1:] for line in needs_table(tmp_path).splitlines()}
    assert rows["raw"] == ["2", "31:32", "1:02:03", "2.0", "GB"]
    assert rows["published"] == ["1", "0:00", "0:00", "–"]
    assert rows["tagged"] == ["0", "–", "–", "–"]
