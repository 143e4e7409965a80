"""What the files of a base model say of themselves, read from headers alone: no tensor is loaded."""

from pathlib import Path

from charaloom.config.schemas import Config
from charaloom.errors import CharaloomError
from charaloom.weights.models import Facts, Model, check_numbers, model_digest, model_facts, read_model, read_whole

SAID = ("family", "prediction", "zero_snr")  # what a base's entry and its files may both say


def base_facts(entry: Config) -> Facts:
    """The facts of a base model's file or folder; nothing is known of what is not there."""
    path = entry.get("path")
    if path is None or not Path(path).exists():
        return Facts()
    return model_facts(Path(path), optional(entry.get("config")))


def optional(path: str | None) -> Path | None:
    return Path(path) if path else None


def open_model(path: Path, entry: Config) -> Model:
    """A base model with all its tensors looked up; `entry` is its entry in `bases`.

    Raises CharaloomError where something is missing, of another shape or kind, or said otherwise in the entry.
    """
    facts = model_facts(path, optional(entry.get("config")))
    check_said(path, entry, facts)
    return read_model(path, optional(entry.get("config")), optional(entry.get("vae")))


def check_said(path: Path, entry: Config, facts: Facts) -> None:
    """Refuse an entry that says something else than the files; a file without `ztsnr` denies nothing."""
    for key in SAID:
        said, found = entry.get(key), getattr(facts, key)
        silent = found is None or (key == "zero_snr" and not found and not path.is_dir())
        if said is not None and not silent and said != found:
            raise CharaloomError(
                f"`{key}` is {shown(said)}, but {path.name} says {shown(found)}: leave `{key}` out, or take another"
                " file"
            )


def shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_model(entry: Config, work: Path) -> None:
    """Refuse a base whose files, read whole, are not what they should be. They are read once, until they change."""
    model = open_model(Path(entry["path"]), entry)
    try:
        files = read_whole(model, work)
    except OSError as problem:
        raise CharaloomError(
            f"{problem.filename}: {problem.strerror}, while the files of the base are read; make it readable, or fetch"
            " it again"
        ) from problem
    check_digest(entry["name"], entry.get("digest"), model_digest(model, files))
    check_numbers(model, files)


def check_digest(name: str, wanted: str | None, sha256: str) -> None:
    """Refuse a base that was replaced under the same path."""
    if wanted and wanted != sha256:
        raise CharaloomError(
            f"its SHA-256 is {sha256}, `bases.{name}.digest` asks for {wanted}; fetch the right file again, or correct"
            " the digest"
        )
