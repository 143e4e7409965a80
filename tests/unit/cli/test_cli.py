"""The command: its tables, its estimate, what it reads of Snakemake's words."""

import json
from pathlib import Path
from typing import Any

import pytest

from charaloom import __main__ as cli
from charaloom.artifacts.files import write_json
from charaloom.cli import progress, status, text
from charaloom.cli import snakemake as snakemake_module
from charaloom.cli.run import print_weak
from charaloom.cli.snakemake import Snakemake, error_lines, find_profile
from charaloom.config.project import load_project
from charaloom.config.schemas import CODE
from charaloom.config.stages import STAGES
from charaloom.errors import CharaloomError
from charaloom.pages import standing
from charaloom.pages.status import write_status_page
from tests.small_bases import write_base

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
    options = cli.parsed(["run", "hana", "--configfile", "a.yaml", "--cores", "3", "--", "--keep-going"])
    assert options.characters == ["hana"]
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


def test_the_one_line_of_an_error_is_found() -> None:
    assert error_lines(["Using profile", "Error: x.yaml: seed: 'a' is not a whole number"]) == (
        ["x.yaml: seed: 'a' is not a whole number"]
    )
    assert error_lines(["first", "boom"]) == ["first", "boom"]


def test_given_rules_run_alone_and_whatever_snakemake_knows(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(snakemake_module, "Running", lambda command, log: command)
    plain = Snakemake(profile=None)
    assert plain.run(["a"], tmp_path)[3:] == ["a", "--snakefile", str(CODE / "Snakefile")]
    assert plain.run(["a"], tmp_path, ["raw", "report"], force=True)[-4:] == [
        "--force",
        "--allowed-rules",
        "raw",
        "report",
    ]


# --- progress


def test_the_estimate_learns_from_measurements(tmp_path: Path) -> None:
    (tmp_path / "hana").mkdir()
    (tmp_path / "hana" / "raw.jsonl").write_text('{"s": 10.0}\n{"s": 20.0}\n')
    (tmp_path / "hana" / "measured.jsonl").write_text("{half a li")
    estimate = progress.Estimate(tmp_path, parallel=2)
    assert estimate.of({"raw": 4}) == 30
    assert estimate.of({"measured": 4, "raw": 0}) == 2 * progress.TYPICAL["measured"]
    assert estimate.rest({"raw": 4}, since=10) == 20
    assert estimate.rest({"raw": 4}, since=1000) == 15


def test_the_estimate_reads_a_sample_of_many_characters(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(progress, "MOST_MEASURED", 3)
    for number in range(10):
        folder = tmp_path / f"c{number}"
        folder.mkdir()
        (folder / "published-folder.jsonl").write_text(f'{{"s": {number}}}\n')
    assert progress.measured_seconds(tmp_path) == {"published": 4.0}


def test_the_estimate_keeps_this_machines_pace(tmp_path: Path) -> None:
    estimate = progress.Estimate(tmp_path, parallel=1)
    estimate.finished({"measured": 1}, 3 * progress.TYPICAL["measured"])
    assert estimate.of({"previews": 1}) == pytest.approx(3 * progress.TYPICAL["previews"])


def test_the_estimate_takes_what_the_config_says_of_a_processor(tmp_path: Path) -> None:
    estimate = progress.Estimate(tmp_path, parallel=1)
    estimate.reckoned = {"checkpoints": 40000.0}
    assert estimate.of({"checkpoints": 1, "raw": 1}) == 40000 + progress.TYPICAL["raw"]
    estimate.finished({"checkpoints": 1, "selection": 1}, 39000)
    assert estimate.pace() == 1.0


def test_times_and_counts_as_people_read_them() -> None:
    assert text.clock(65) == "1:05"
    assert text.clock(3723) == "1:02:03"
    assert text.about(20) == "under a minute"
    assert text.about(300) == "about 5 min"
    assert text.about(10000) == "about 167 min"
    assert text.about(40000) == "about 11 h"
    assert text.about(400000) == "about 5 days"
    assert text.counted(2800, "job") == "2,800 jobs"
    assert (text.counted(1, "job"), text.counted(2, "job"), text.counted(0, "job")) == ("1 job", "2 jobs", "0 jobs")


def test_the_last_line_of_the_newest_log(tmp_path: Path) -> None:
    log = tmp_path / "raw.log"
    assert progress.latest_line([log], 0) == ""
    log.write_text("one\nstep 1/9\rstep 2/9\n\n")
    assert progress.latest_line([log, tmp_path / "gone.log"], 0) == "step 2/9"
    assert progress.latest_line([log], 2**40) == ""
    log.write_text(
        "step 3/9\n/x/image.py:13: UserWarning: Failed to load\n  warn(\nLoading weights: 100%|###|\n"
        "WARNING bitsandbytes.backends: Failed\n2026-11-29 08:45:01.275 | INFO     >> Saved state, step: 200\n"
    )
    assert progress.latest_line([log], 0) == "step 3/9"


# --- the table


@pytest.fixture
def project(tmp_path: Path, monkeypatch: Any) -> Any:
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures", "config"):
        (tmp_path / folder).mkdir()
    write_base(tmp_path / "base")
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
        name = "published/folder.json" if stage == "published" else f"{stage}.manifest.json"
        write_json(Path("results/hana") / name, {"counts": COUNTS.get(stage, {})})


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
        ("Traceback (most recent call last):\n\nKeyboardInterrupt\n", "not finished: tagged was interrupted"),
        ("step 2/9\nInterrupted.\n", "not finished: tagged was interrupted"),
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
    assert "alert(1)</script>" not in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["rows"] == [
        ["hana", 0, 4, 0b1010, "6", "4", None, None, None, "<script>alert(1)</script>", "../work/logs/hana/tagged.log"]
    ]
    assert (data["stages"][4], data["states"][0], data["pages"][1]) == ("tagged", "failed", "curation")


def test_the_table_of_many_names_first_who_needs_a_person(project: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(status, "MOST_ROWS", 2)
    roster = "".join(f"c{number}\tfolder\tpictures\n" for number in range(5))
    Path("config/characters.tsv").write_text(f"character\tsource\tquery\n{roster}")
    log = Path("work/logs/c3/raw.log")
    log.parent.mkdir(parents=True)
    log.write_text("Error: no\n")
    lines = status.status_table(load_project()).splitlines()
    assert lines[1].split()[0] == "c3"
    assert lines[2].split()[0] == "c0"
    assert lines[3] == "… and 3 more: results/status.html lists them all"
    assert lines[4] == "5 characters: 1 failed (raw), 4 waiting"


def test_the_table_of_a_finished_character(project: Any) -> None:
    finish_stages(project)
    numbers = {"checkpoint": "step-000100", "recognised": 1, "asked": 2}
    per_base = [{"base": "tiny", "with_lora": numbers, "without_lora": None}]
    selection = {"base": "tiny", "chosen": "step-000100", "checkpoints": [numbers], "per_base": per_base}
    write_json(Path("results/hana/selection.json"), selection)
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


def test_a_weak_model_is_no_success_in_table_end_and_page(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    finish_stages(project)
    numbers = {"checkpoint": "step-000100", "recognised": 1, "asked": 9}
    weak = {"why": ["1 of 9 previews are recognised", "1 of 4 without"], "advice": ["add pictures", "look"]}
    selection = {"chosen": "step-000100", "checkpoints": [numbers], "weak": weak}
    write_json(Path("results/hana/selection.json"), selection)
    lines = status.status_table(project).splitlines()
    assert lines[1].endswith("1 of 9      weak: results/hana/report.html says what to try")
    assert lines[-1] == "1 character: 1 weak"
    print_weak(project, standing.Standings(project))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "Weak, of 1 character: 1. Not published (published.weak: false).",
        "  hana  1 of 9 previews are recognised; 1 of 4 without",
        "      try: add pictures",
    ]
    page = write_status_page(project).read_text()
    row = json.loads(page.split('id="data">')[1].split("</script>")[0])["rows"][0]
    assert (row[:3], row[-2]) == (["hana", 1, -1], "1 of 9 previews are recognised; 1 of 4 without")


def test_what_a_stage_needed_is_told_from_benchmark_files(tmp_path: Path) -> None:
    (tmp_path / "hana").mkdir()
    (tmp_path / "hana" / "raw.jsonl").write_text('{"s": 60.0, "max_rss": 512.0}\n{"s": 3723, "max_rss": 2048}\n')
    (tmp_path / "hana" / "published-folder.jsonl").write_text('{"s": 0.1, "max_rss": "NA"}\n')
    (tmp_path / "hana" / "tagged.jsonl").write_text('{"s": 1')
    rows = {line.split()[0]: line.split()[1:] for line in status.needs_table(tmp_path).splitlines()}
    assert rows["raw"] == ["2", "31:32", "1:02:03", "2.0", "GB"]
    assert rows["published"] == ["1", "0:00", "0:00", "–"]
    assert rows["tagged"] == ["0", "–", "–", "–"]
