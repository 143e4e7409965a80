"""What is wrong is told in the first seconds of `charaloom run`, with its cause and its cure, and exit code 2."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from charaloom import __main__ as cli
from charaloom.cli.check.findings import Findings
from charaloom.cli.check.machine import check_memory, check_precision
from charaloom.cli.check.places import check_code
from charaloom.cli.check.whole import check
from charaloom.cli.snakemake import Snakemake
from charaloom.config.project import load_project
from charaloom.config.schemas import CODE
from charaloom.errors import CharaloomError
from charaloom.runtime.gpus import Gpu
from charaloom.training.memory import GIB
from tests.servers.repo_hub import User
from tests.servers.repo_hub_http import serving
from tests.small_bases import write_base

PIXEL = bytes.fromhex(  # a PNG of one pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000"
    "000049454e44ae426082"
)
SECONDS = 5.0  # within which a run says what is wrong
MORE = Path("more.yaml")
ROSTER = Path("config/characters.tsv")
HANA = "hana\tfolder\tpictures/hana\t\tadult"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose project is in order, on a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for variable in ("HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    for variable in [name for name in os.environ if name.startswith("CHARALOOM_")]:
        monkeypatch.delenv(variable)
    pictures = tmp_path / "pictures" / "hana"
    pictures.mkdir(parents=True)
    for number in range(20):
        (pictures / f"{number}.png").write_bytes(PIXEL)
    write_base(tmp_path / "base")
    ROSTER.parent.mkdir()
    roster(HANA)
    overlay(Path("config/config.yaml"), **CONFIG)
    return tmp_path


CONFIG = {
    "bases": {"tiny": {"path": "base", "family": "sd15", "clip_skip": 0, "licence": "mit"}},
    "training": {"base": "tiny"},
    "previews": {"bases": ["tiny"]},
    "models": {"lock": str(CODE / "resources/demo/models.yaml"), "hub": str(CODE / "resources/demo/models")},
}


def roster(*rows: str, header: str = "character\tsource\tquery\ttrigger\tage") -> None:
    ROSTER.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8")


def overlay(path: Path = MORE, **keys: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")


def checked(capsys: pytest.CaptureFixture[str], *arguments: str, command: str = "run") -> tuple[int, str, float]:
    """Exit code, everything printed, seconds."""
    configs = ["--configfile", str(MORE)] if MORE.exists() else []
    began = time.monotonic()
    code = cli.main([command, *arguments, *configs])
    took = time.monotonic() - began
    printed = capsys.readouterr()
    return code, printed.err + printed.out, took


# --- how a project is made wrong


def base(**entry: Any) -> Callable[[], None]:
    """Another entry for the base `tiny`."""
    return lambda: overlay(bases={"tiny": entry})


def keys(**values: Any) -> Callable[[], None]:
    return lambda: overlay(**values)


def text(content: str | bytes, path: Path = MORE) -> Callable[[], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda: write(path, data)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def rows(*lines: str, **more: str) -> Callable[[], None]:
    return lambda: roster(*lines, **more)


def file_base(name: str, data: bytes) -> Callable[[], None]:
    """The base `tiny` is one file with this content."""

    def change() -> None:
        Path(name).write_bytes(data)
        overlay(bases={"tiny": {"path": name}})

    return change


def weights(part: str = "unet", **change: Any) -> Callable[[], None]:
    return lambda: change_weights(Path("base") / part / "diffusion_pytorch_model.safetensors", **change)


def change_weights(path: Path, lose: bool = False, shape: bool = False, dtype: str = "", first: bytes = b"") -> None:
    """Change the first tensor of a file of weights."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = min(header, key=lambda each: header[each]["data_offsets"])
    if lose:
        header[f"not.{name}"] = header.pop(name)
    if shape:
        header[name]["shape"] = [header[name]["shape"][0] * header[name]["shape"][1], *header[name]["shape"][2:]]
    if dtype:
        header[name]["dtype"] = dtype
    start = header.get(name, {"data_offsets": [0]})["data_offsets"][0]
    numbers = numbers[:start] + first + numbers[start + len(first) :]
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + numbers)


def settings_of(path: str, **values: Any) -> Callable[[], None]:
    def change() -> None:
        file = Path("base") / path
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return change


def without(path: str) -> Callable[[], None]:
    return lambda: shutil.rmtree(Path("base") / path)


def pickled() -> None:
    unet = Path("base/unet")
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model.bin")


def other_family() -> None:
    write_base(Path("large"), "sdxl")
    overlay(bases={"large": {"path": "large"}}, previews={"bases": ["tiny", "large"]})


def skipping_twice() -> None:
    write_base(Path("large"), "sdxl")
    overlay(bases={"tiny": {"path": "large", "family": "sdxl", "clip_skip": 1}})


def pipe() -> None:
    os.mkfifo("pipe.safetensors")
    overlay(bases={"tiny": {"path": "pipe.safetensors"}})


def lora() -> bytes:
    header = {
        f"lora_unet_down_blocks_0.{end}": {"dtype": "F16", "shape": [1], "data_offsets": [2 * place, 2 * place + 2]}
        for place, end in enumerate(("alpha", "lora_down.weight", "lora_up.weight"))
    }
    written = json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + bytes(6)


HUB_BASE = {"repo": "someone/model", "family": "sd15", "path": None}


def folder_of(*files: str) -> Callable[[], None]:
    """hana's folder holds these files alone."""

    def change() -> None:
        shutil.rmtree("pictures/hana")
        for file in files:
            write(Path("pictures/hana") / file, b"x")
        Path("pictures/hana").mkdir(exist_ok=True)

    return change


def own(**values: Any) -> Callable[[], None]:
    """hana's own file."""
    return lambda: overlay(Path("config/characters/hana.yaml"), **values)


def empty_archive() -> None:
    Path("set.zip").write_bytes(b"")
    own(sources=[{"archive": "set.zip"}])()


def blocked(key: str, name: str) -> Callable[[], None]:
    """A place below a file."""

    def change() -> None:
        Path("taken").write_text("")
        overlay(paths={key: f"taken/{name}"})

    return change


WRONG: dict[str, tuple[Callable[[], None], str, str]] = {  # what is wrong: how, the cause, the cure
    # bases
    "no such folder": (base(path="nowhere"), "'nowhere' does not exist", "name a diffusers folder"),
    "a pickle": (file_base("old.ckpt", b"PK"), "a pickle", "take the .safetensors version"),
    "a picture as base": (file_base("base.png", PIXEL), "neither a diffusers folder nor", ".safetensors"),
    "a web page": (file_base("x.safetensors", b"<!DOCTYPE html>" * 9), "x.safetensors", "again"),
    "an empty file": (file_base("x.safetensors", b""), "x.safetensors", "again"),
    "a LoRA": (file_base("x.safetensors", lora()), "LoRA", "name the base"),
    "a tensor missing": (weights(lose=True), "lacks 1 of", "fetch it again"),
    "another shape": (weights(shape=True), "has the shape", "take another copy"),
    "quantised": (weights(dtype="I16"), "quantised", "fp16 version"),
    "NaN in the UNet": (weights(first=b"\xff\xff"), "holds NaN or infinity", "fetch it again"),
    "infinity in the VAE": (weights("vae", first=b"\x00\x7c"), "its VAE holds NaN", "fetch it again"),
    "no VAE": (without("vae"), "has no vae/", "fetch it again"),
    "no tokenizer": (without("tokenizer"), "has no tokenizer/", "fetch it again"),
    "broken index": (text("{", Path("base/model_index.json")), "no valid JSON", "fetch it again"),
    "a FLUX folder": (settings_of("model_index.json", _class_name="FluxPipeline"), "FluxPipeline", "take"),
    "inpainting": (settings_of("unet/config.json", in_channels=9), "inpainting", "take"),
    "SD 2": (settings_of("unet/config.json", cross_attention_dim=1024), "2.x", "take"),
    "odd prediction": (settings_of("scheduler/scheduler_config.json", prediction_type="flow"), "`flow`", "take"),
    "pickled weights": (pickled, "run code when they are read", "safetensors weights"),
    "family said wrong": (base(family="sdxl"), "`family` is sdxl, but base says sd15", "leave `family` out"),
    "prediction said wrong": (base(prediction="v_prediction"), "says epsilon", "leave `prediction` out"),
    "another digest": (base(digest="0" * 64), "its SHA-256 is", "correct the digest"),
    "unknown base": (keys(training={"base": "tinny"}), "no base 'tinny'", "did you mean `tiny`"),
    "preview base of another family": (other_family, "'large' is an sdxl base", "sd15"),
    "no VAE file": (base(vae="vae.safetensors"), "'vae.safetensors' does not exist", "from the working directory"),
    "two layers skipped": (skipping_twice, "clip_skip: 1 on a base of", "set 0 or leave it out"),
    "hub base without family": (base(repo="a/b", path=None, family=None), "needs `family`", "family"),
    "a VAE for a folder": (base(path="base", vae="base/vae/diffusion_pytorch_model.safetensors"), "`vae`", "leave"),
    "a folder around a file": (base(path="pictures"), "no diffusers folder", "one .safetensors file"),
    "no class in the index": (settings_of("model_index.json", _class_name=["FluxPipeline"]), "FluxPipeline", "take"),
    "a pipe": (pipe, "neither a file nor a folder", "name a diffusers folder"),
    "a download's address": (base(path="https://x.example/a.safetensors"), "does not exist", "download it"),
    # config
    "unknown key": (keys(training={"stepz": 3}), "training.stepz: unknown key", "did you mean `steps`?"),
    "text for a number": (keys(raw={"limit": "many"}), "'many' is not a whole number", "left out, it is 1500"),
    "out of range": (keys(filtered={"held_out": 7}), "7 is above", "left out, it is 0.15"),
    "not of the list": (keys(dataset={"format": "GIF"}), "'GIF' is not one of", "WEBP"),
    "a key twice": (text("seed: 1\nseed: 2\n"), "line 2: `seed` is there twice, first in line 1", "keep one"),
    "octal": (text("raw:\n  limit: 0120\n"), "line 2: YAML reads `0120` as a number of base 8", "write 120"),
    "sexagesimal": (text("raw: {limit: 1:30}\n"), "`1:30` as a number of base 60", "write the number"),
    "broken YAML": (text("raw: [\n"), "is no valid YAML", "line 2"),
    "not UTF-8": (text(b"contact: \xff\xfe\n"), "is no valid YAML", "utf-8"),
    "a list as config": (text("- 1\n"), "holds no keys", "write `key: value` lines"),
    "no such recipe": (keys(training={"recipe": "pivotl"}), "no recipe 'pivotl'", "there are lora, pivotal"),
    "recipes in a circle": (
        keys(recipes={"a": {"extends": "b"}, "b": {"extends": "a"}}, training={"recipe": "a"}),
        "a circle",
        "let one of them stand alone",
    ),
    "dataset too small": (keys(dataset={"resolution": 256}), "256 is below the training's", "write `auto`"),
    "fp16 training on a processor": (keys(training={"precision": "fp16"}), "training.precision: fp16", "`auto`"),
    "fp16 previews on a processor": (keys(previews={"precision": "fp16"}), "previews.precision: fp16", "`auto`"),
    "regularisation nowhere": (keys(training={"regularisation": "nowhere"}), "'nowhere' is no folder", "or null"),
    "regularisation empty": (keys(training={"regularisation": "config"}), "holds no picture", "put some into it"),
    "no removals": (keys(removals="gone.yaml"), "gone.yaml: there is no such file", "paths start at"),
    "no lock": (keys(models={"lock": "gone.yaml"}), "gone.yaml: there is no such file", "paths start at"),
    "hub without models": (
        keys(models={"hub": "config"}),
        "is missing; `models.hub` is a folder",
        "put the files there",
    ),
    "an account in an address": (
        keys(boards={"own": {"dialect": "danbooru", "root": "https://me:pw@x.example", "seconds_between_requests": 1}}),
        "boards.own: an address has a user name",
        "CHARALOOM_OWN_API_KEY",
    ),
    "NaN": (text("training: {rate_unet: .nan}\n"), "line 1: `.nan` is not a finite number", "write one"),
    "UTF-16": (text("seed: 3\n".encode("utf-16")), "is no valid YAML", "save it as UTF-8"),
    "tabs": (text("raw:\n\tlimit: 3\n"), "is no valid YAML", "indent with blanks"),
    "steps without end": (keys(training={"steps": 10**9}), "1000000000 is above 1000000", "training.steps"),
    "a board of nothing": (
        keys(boards={"x": {"dialect": "danbooru"}}),
        "`seconds_between_requests` is missing",
        "more",
    ),
    # roster and characters
    "no roster": (keys(roster="gone.tsv"), "gone.tsv: the roster cannot be read", "`roster` in the config names it"),
    "empty roster": (rows(), "holds no character yet", "`charaloom init`"),
    "blanks for tabs": (rows(header="character source query"), "separated by tabs", "character, source"),
    "unknown column": (rows(header="character\tsource\tqery"), "unknown column 'qery'", "did you mean `query`?"),
    "unknown board": (rows("hana\tdanboru\thana"), "'danboru' is no source", "did you mean `danbooru`?"),
    "no such folder of pictures": (rows("hana\tfolder\tpictures/hanna"), "no folder 'pictures/hanna'", "start at"),
    "a name twice": (rows(HANA, HANA), "'hana' is there twice", "give one of them another name"),
    "a name with blanks": (rows("hana x\tfolder\tpictures/hana"), "'hana x'", "a-z"),
    "an age of its own": (rows("hana\tfolder\tpictures/hana\t\tgrown"), "age: 'grown'", "adult"),
    "a trigger like an embedding": (rows("hana\tfolder\tpictures/hana\thana_emb"), "'hana_emb'", "another `trigger`"),
    "a name of ours": (rows("bases\tfolder\tpictures/hana"), "'bases' is a folder of", "take another name"),
    "an empty folder": (folder_of(), "the folder of hana is empty", "put pictures into it"),
    "a folder without pictures": (folder_of("a.txt", "b.pdf"), "holds no picture (2 other files)", "put pictures"),
    "unknown key of hers": (own(filtered={"identty": 1}), "filtered.identty: unknown key", "did you mean `identity`?"),
    "no such archive": (own(sources=[{"archive": "set.zip"}]), "there is no 'set.zip'", "paths start at"),
    "an empty archive": (empty_archive, "set.zip: the archive of hana is empty", "copy it again"),
    "a folder as archive": (own(sources=[{"archive": "pictures"}]), "the archive of hana is a folder", "as `folder`"),
    "commas for tabs": (rows(header="character,source,query"), "separated by tabs", "character, source"),
    "two kinds of source": (
        own(sources=[{"folder": "a", "video": "b"}]),
        "here is folder and video",
        "a source is one",
    ),
    "a board without account": (rows("hana\tgelbooru\thana"), "answers accounts alone", "CHARALOOM_GELBOORU_API_KEY"),
    # places
    "work below a file": (blocked("work", "w"), "paths.work:", "name another folder in `paths.work`"),
    "results below a file": (blocked("results", "r"), "taken is a file", "name another folder in `paths.results`"),
    "work that cannot be written": (
        keys(paths={"work": "/proc/w"}),
        "nothing can be written to /proc",
        "mend its rights",
    ),
    "results that cannot be written": (keys(paths={"results": "/proc"}), "nothing can be written", "`paths.results`"),
    "results among the pictures": (keys(paths={"results": "pictures/hana/out"}), "holds `paths.results`", "alone"),
    "results in two lines": (keys(paths={"results": "a\nb"}), "'a\\nb' is not allowed", "left out, it is results"),
    "braces": (keys(paths={"results": "out {v1}"}), "paths.results: 'out {v1}' is not allowed", "no `{`"),
    "a hub without namespace": (
        keys(published={"targets": {"hub": {"kind": "hub"}}}),
        "published.targets.hub: `namespace` is missing",
        "a hub with a `namespace`",
    ),
    "a hub's repository without the character": (
        keys(published={"targets": {"hub": {"kind": "hub", "namespace": "ann", "model": "all"}}}),
        "published.targets.hub.model: 'all' is not allowed",
        "with `{character}` in it",
    ),
    "a hub without a token": (
        keys(published={"targets": {"hub": {"kind": "hub", "namespace": "ann"}}}),
        "published.targets.hub: HF_TOKEN is not set",
        "set it to a token of https://huggingface.co",
    ),
    "a target that cannot be written": (
        keys(published={"targets": {"folder": {"kind": "folder", "path": "/proc/x"}}}),
        "published.targets.folder.path: nothing can be written",
        "name another folder",
    ),
}


def test_h6_a_hub_is_asked_before_anything_trains(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        server.hub.users = {"hf_secret": User("ann", role="read")}
        overlay(published={"targets": {"hub": {"kind": "hub", "namespace": "bob"}}})
        code, said, took = checked(capsys)
        assert code == 2
        assert "published.targets.hub: HF_TOKEN may only read" in said
        assert "published.targets.hub.namespace: bob is neither the user of HF_TOKEN" in said
        assert "hf_secret" not in said
        assert took < SECONDS
        asked = len(server.calls)
        assert check(Snakemake([MORE]), until="model").code == 0
        assert len(server.calls) == asked, "nothing is published that far"


def test_a_target_of_another_file_is_taken_away(place: Path) -> None:
    overlay(published={"targets": {"folder": None}})
    assert load_project([MORE]).config["published"]["targets"] == {}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_at_once(place: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    change, cause, cure = WRONG[what]
    change()
    code, said, took = checked(capsys)
    assert code == 2, said
    lines = [line for line in said.splitlines() if line.startswith("Error: ") and cause in line]
    assert lines, said
    assert any(cure in line for line in lines), said
    assert "nothing was started" in said
    assert "Traceback" not in said
    assert took < SECONDS
    assert not Path(".snakemake").exists()


def test_more_than_forty_are_listed() -> None:
    assert len(WRONG) >= 40


def test_a_project_in_order(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked(capsys, command="check")
    code, said, took = checked(capsys, command="check")
    assert code == 0, said
    assert "1 character: nothing is wrong." in said
    assert "No GPU that nvidia-smi shows" in said
    assert re.search(r"hana: training .*800 steps of 4 at 512 px on tiny", said)
    assert took < 3.0


def test_all_is_told_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roster("hana\tfolder\tnowhere", "mei\tdanboru\tmei")
    overlay(training={"stepz": 1, "precision": "fp16"}, bases={"tiny": {"family": "sdxl"}}, raw={"limit": "x"})
    Path("config/characters").mkdir()
    Path("config/characters/rin.yaml").write_text("{}")
    code, said, _ = checked(capsys, command="check")
    assert code == 2
    for part in ("nowhere", "danboru", "stepz", "fp16", "`family` is sdxl", "raw.limit", "rin.yaml: is not read"):
        assert part in said
    assert said.count("Error: ") == 6
    assert "6 errors, 1 warning: nothing was started" in said


def test_a_file_of_nobody_stops_nobody(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The roster's row was removed, and the character's own file was not."""
    overlay(Path("config/characters/hanna.yaml"), filtered={})
    code, said, _ = checked(capsys, command="check")
    assert code == 0
    assert "Warning: config/characters/hanna.yaml: is not read" in said
    assert "did you mean `hana`?" in said


@pytest.mark.parametrize("name", ["config/characters/hana.yml", "my/config.yml"])
def test_a_file_of_another_ending_is_named(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    overlay(Path(name), filtered={"trust": "identity"})
    code, said, _ = checked(capsys, command="check")
    assert code == 0
    assert f"Warning: {name}: is not read" in said
    assert f"rename it to {name[:-4]}.yaml" in said


def test_a_file_that_only_its_name_calls_v_prediction(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("noobaiXLVpred10.safetensors").write_bytes(lora())
    overlay(bases={"tiny": {"path": "noobaiXLVpred10.safetensors"}})
    assert "is called v-prediction, and nothing in it says so" not in checked(capsys, command="check")[1]  # no base
    facts = {"prediction": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charaloom.cli.check.whole.base_facts", lambda entry: SimpleNamespace(**facts))
        assert "is called v-prediction, and nothing in it says so" in checked(capsys, command="check")[1]
        facts["prediction"] = "v_prediction"
        assert "is called v-prediction" not in checked(capsys, command="check")[1]


def test_more_needed_than_taken(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay(raw={"minimum": 100, "limit": 10})
    code, said, _ = checked(capsys, command="check")
    assert code == 0
    assert "Warning: hana: raw.minimum, 100, is above raw.limit, 10" in said


def test_too_few_pictures_are_told_and_stop_nobody(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures/hana/0.png").unlink()
    code, said, _ = checked(capsys, command="check")
    assert code == 0
    assert "Warning: pictures/hana: 19 pictures of hana, at least 20 are wanted" in said


def test_an_unknown_character(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = checked(capsys, "hanna")
    assert code == 2
    assert "hanna: is not in config/characters.tsv; did you mean `hana`?" in said


def test_an_unknown_profile(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = checked(capsys, "--profile", "slrum")
    assert code == 2
    assert "--profile slrum: there is no such profile; Charaloom's own are" in said


def test_a_config_file_that_is_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = checked(capsys, "--configfile", "gone.yaml")
    assert code == 2
    assert "gone.yaml: cannot be read: No such file or directory; name a YAML file that is there" in said


def test_a_name_behind_the_config_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = checked(capsys, "--configfile", "config/config.yaml", "hana")
    assert code == 2
    assert said.startswith("Error: hana: there is no such config file; names of characters stand before --configfile")


def test_half_an_account(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    roster("hana\tdanbooru\thana_(x)")
    monkeypatch.setenv("CHARALOOM_DANBOORU_API_KEY", "secret")
    code, said, _ = checked(capsys)
    assert code == 2
    assert (
        "CHARALOOM_DANBOORU_API_KEY is set, but not CHARALOOM_DANBOORU_USERNAME: an account of danbooru needs both"
        in said
    )
    assert "secret" not in said


# --- the hub


@contextmanager
def answering(status: int, seconds: float = 0.0) -> Iterator[str]:
    """A hub that answers everything with one status, after so many seconds."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            done.wait(seconds)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    done = threading.Event()
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    hub.daemon_threads = True
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{hub.server_port}"
    done.set()
    hub.shutdown()
    hub.server_close()


@pytest.mark.parametrize(
    ("status", "seconds", "cause", "cure"),
    [
        (404, 0.0, "has no such file", "check the names of repo"),
        (401, 0.0, "refuses", "HF_TOKEN"),
        (403, 0.0, "refuses", "accept its terms"),
        (200, 30.0, "cannot be reached (timed out)", "check the network and `models.hub`"),
    ],
)
def test_a_hub_that_does_not_give(
    place: Path, capsys: pytest.CaptureFixture[str], status: int, seconds: float, cause: str, cure: str
) -> None:
    with answering(status, seconds) as address:
        overlay(models={"hub": address}, bases={"tiny": HUB_BASE})
        code, said, took = checked(capsys)
    assert code == 2
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: bases.tiny, ")
    assert "picture models" in line
    assert cause in line
    assert cure in line
    assert took < SECONDS


def test_a_hub_that_is_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay(models={"hub": "http://127.0.0.1:9"}, bases={"tiny": HUB_BASE})
    code, said, _ = checked(capsys)
    assert code == 2
    assert "bases.tiny" in said
    assert "cannot be reached (Connection refused)" in said


def test_a_hub_that_answers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(302) as address:
        overlay(models={"hub": address}, bases={"tiny": HUB_BASE})
        code, said, _ = checked(capsys, command="check")
    assert code == 0, said


def test_without_training_no_base_is_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay(bases={"tiny": {**HUB_BASE, "repo": "someone/else"}})
    code, said, _ = checked(capsys)
    assert code == 2
    assert "bases.tiny" in said
    write(Path("results/hana/model.manifest.json"), b"{}")
    code, said, _ = checked(capsys, command="check")
    assert code == 0, said


# --- the machine


@pytest.mark.parametrize(("free", "total", "kind"), [(4, 6, "errors"), (4, 24, "warnings"), (23, 24, None)])
def test_a_training_must_fit_into_the_gpu(place: Path, free: int, total: int, kind: str | None) -> None:
    findings = Findings()
    check_memory(load_project(), [Gpu("a card", total * GIB, free * GIB, 8.6)], findings)
    lines = getattr(findings, kind) if kind else []
    assert [*findings.errors, *findings.warnings] == lines
    assert not kind or f"a card has {total}.0 GB, {free}.0 GB free; with `gradient_checkpointing: true`" in lines[0]


def test_formats_that_a_gpu_has_not_are_told(place: Path) -> None:
    overlay(training={"precision": "bf16"})
    findings = Findings()
    check_precision(load_project([MORE]), [MORE], [Gpu("an old card", 8 * GIB, 8 * GIB, 7.5)], findings)
    assert findings.warnings == [
        "more.yaml: training.precision: an old card has no bf16 and would emulate it slowly; write `auto`"
    ]


# --- places


def test_a_full_disk(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = place / "full"
    full.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(full)], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk here")
    try:
        (full / "fill").write_bytes(bytes(60_000))
        overlay(paths={"work": "full/work"})
        code, said, _ = checked(capsys)
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert code == 2
    assert "0.0 GB are free" in said
    assert "free some, or name a folder on a larger disk" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["my clone (v1)", "clone's", 'a "b" c', "$HOME & co", "ä ö"])
def test_clones_that_work(name: str) -> None:
    check_code(Path("/home") / name)


@pytest.mark.parametrize("name", ["a{b}", "a<b", "a\nb"])
def test_clones_that_do_not(name: str) -> None:
    with pytest.raises(CharaloomError, match="move the checkout to another folder"):
        check_code(Path("/home") / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my clone (v1)", "clone's"])
def test_a_clone_of_any_name_runs_its_jobs(place: Path, name: str) -> None:
    """Also where the home cannot be written: K1 and K4."""
    clone = place / name
    for part in ("Snakefile", "rules", "scripts", "profiles", "config", "envs"):
        source, target = CODE / part, clone / part
        shutil.copytree(source, target) if source.is_dir() else (clone.mkdir(), shutil.copyfile(source, target))
    (clone / ".venv").symlink_to(Path(sys.prefix))
    overlay(raw={"minimum": 1})
    result = subprocess.run(
        [str(clone / ".venv/bin/python"), "-m", "charaloom", "run", "--until", "raw", "--configfile", str(MORE)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(clone / "scripts"), "HOME": "/proc/nohome"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (place / "results/hana/raw.manifest.json").exists()
    assert (place / "work/cache").is_dir()
