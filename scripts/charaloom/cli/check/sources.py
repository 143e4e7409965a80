"""Where pictures come from: folders that can be read and hold some, archives that can be opened, accounts of boards."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from charaloom.cli.check.findings import Findings
from charaloom.config.params import Origin
from charaloom.config.project import Project
from charaloom.config.roster import BOARD, FOLDER, Character
from charaloom.config.schemas import Config, written_out
from charaloom.config.stage_params import boards_of, entries_of
from charaloom.errors import CharaloomError
from charaloom.images.files import read_folder

ACCOUNTS_ONLY = frozenset({"gelbooru.com", "www.gelbooru.com"})  # hosts that answer nobody else: docs/sources.md
OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def check_character(project: Project, name: str, findings: Findings) -> float:
    """Check the sources of one character; bytes that will be copied of them."""
    character, config = project.characters[name], project.config_of(name)
    entries = entries_of(config, character)
    least, most = config["raw"]["minimum"], config["raw"]["limit"]
    if least > most:
        findings.warning(
            f"{name}: raw.minimum, {least}, is above raw.limit, {most}, the most that is taken: the character will"
            " fail; lower one or raise the other"
        )
    size = 0.0
    for entry in entries:
        kind = next((kind for kind in entry if kind not in ("query", "quota")), BOARD)
        if kind == BOARD:
            continue
        with findings.collecting():
            if kind == FOLDER and entry[kind]:
                check_apart(project, name, Path(written_out(entry[kind])))
            size += check_own(name, kind, Path(written_out(entry[kind])))
    if [next(iter(entry)) for entry in entries] == [FOLDER]:
        warn_of_few(character, config, findings)
    return size


def check_apart(project: Project, name: str, folder: Path) -> None:
    """What a run writes must not lie in a folder of pictures: the next run would take previews for pictures."""
    config = project.config
    written = {f"paths.{key}": config["paths"][key] for key in ("results", "work")}
    folders = {key: each for key, each in config["published"]["targets"].items() if each["kind"] == FOLDER}
    written |= {f"published.targets.{key}.path": each["path"] for key, each in folders.items()}
    inside = [key for key, place in written.items() if Path(place).resolve().is_relative_to(folder.resolve())]
    if inside:
        raise CharaloomError(
            f"{folder}: the folder of {name} holds {', '.join(f'`{key}`' for key in inside)}, and what is written there"
            " would count as pictures; name a folder of pictures alone, or another place in the config"
        )


def check_own(name: str, kind: str, path: Path) -> float:
    """What a user names must be there, readable and not empty; its bytes. A missing folder of the roster is told with
    its line, by the roster's own checks."""
    if not path.exists():
        return 0.0
    if kind == FOLDER and not path.is_dir():
        raise CharaloomError(f"{path}: the folder of {name} is a file; name a folder, or the file as `archive`")
    if kind in ("archive", "video") and path.is_dir():
        raise CharaloomError(f"{path}: the {kind} of {name} is a folder; name a file, or the folder as `folder`")
    if not path.is_dir():
        with path.open("rb") as handle:
            if not handle.read(1):
                raise CharaloomError(f"{path}: the {kind} of {name} is empty; copy it again")
        return float(path.stat().st_size)
    with os.scandir(path) as listed:
        if not any(listed):
            raise CharaloomError(f"{path}: the folder of {name} is empty; put pictures into it, or name another folder")
    files = read_folder(path)
    if files.unlisted and not files.pictures:
        raise CharaloomError(f"{path}: cannot be listed: {files.unlisted[0].strerror}; make it readable for this user")
    if kind == FOLDER and not files.pictures:
        raise CharaloomError(
            f"{path}: the folder of {name} holds no picture ({len(files.unused):,} other files); put pictures into it,"
            " or name another folder"
        )
    return float(sum((path / picture).stat().st_size for picture in files.pictures if (path / picture).exists()))


def warn_of_few(character: Character, config: Config, findings: Findings) -> None:
    """A folder with too few pictures fails its character alone, so it stops nobody."""
    folder, minimum = Path(character.query), config["raw"]["minimum"]
    number = len(read_folder(folder).pictures) if folder.is_dir() else minimum
    if 0 < number < minimum:
        findings.warning(
            f"{character.query}: {number} pictures of {character.name}, at least {minimum} are wanted (raw.minimum): "
            "the character will fail; add pictures"
        )


def check_accounts(project: Project, names: Sequence[str], findings: Findings) -> None:
    """The boards that are used must be ones that can be asked as the environment and the config say."""
    config = project.config
    used = {board for name in names for board in boards_of(project.config_of(name), project.characters[name])}
    boards = {name: config["boards"][name] for name in sorted(used) if name in config["boards"]}
    for board, entry in boards.items():
        findings.run([partial(check_board, board, entry, config["contact"]), partial(check_account, board, entry)])
    contact = os.environ.get("CHARALOOM_CONTACT") or config["contact"]
    if not contact and any(urlsplit(entry["root"]).hostname not in OWN_HOSTS for entry in boards.values()):
        findings.warning(
            "contact: empty, so a board's owner can only block you; set CHARALOOM_CONTACT to a URL or mail address"
        )


def check_board(board: str, entry: Config, contact: str) -> None:
    from charaloom.sources.boards.listing import site_of

    given = {key: value for key, value in entry.items() if value is not None}
    site_of(Origin.of({"kind": BOARD, "name": board, **given}), contact)


def check_account(board: str, entry: Config) -> None:
    from charaloom.sources.sites import account_of, variables

    if urlsplit(entry["root"]).hostname in ACCOUNTS_ONLY and not account_of(board, by_password=True):
        names = f"{variables(board)}_USERNAME and {variables(board)}_API_KEY"
        raise CharaloomError(f"boards.{board}: answers accounts alone; set {names}, or use another board")
