"""What each stage may know of the config: one frozen dataclass per stage, made at the seam, its rule's script.

`stage_params` gives Snakemake plain JSON values, which it compares; `of` makes the dataclass from them and
`plain` gives them back, so that a lineage holds exactly what Snakemake compared. The fields of a stage are the keys of
its section in config/schemas/config.schema.yaml and what `stage_params.facts_of` adds; a test holds them together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from charaloom.artifacts.typed import ABSENT, Params
from charaloom.config.recipes import settled

CHARACTER = "{character}"  # in the names of repositories
HUB = "https://huggingface.co"  # where no other is named
EMBEDDED, LINKS = "embedded", "links"  # what a dataset holds of its pictures

# --- what several stages share


@dataclass(frozen=True, kw_only=True)
class Stage(Params):
    """What every stage has."""

    version: int  # of the stage's meaning


@dataclass(frozen=True, kw_only=True)
class Base(Params):
    """One entry of `bases`: a base model by its path or by its hub repo."""

    name: str
    family: str  # sd15, sdxl
    clip_skip: int  # layers of the text encoder that are skipped
    prediction: str = "epsilon"  # or v_prediction
    zero_snr: bool = False  # whether the noise schedule ends in pure noise
    prefix: str = ""  # tags before every prompt and caption
    suffix: str = ""  # tags behind them
    path: str | None = None
    repo: str | None = None
    revision: str | None = None
    file: str | None = field(default=None, metadata=ABSENT)  # of the repo: a checkpoint in one file
    licence: str | None = field(default=None, metadata=ABSENT)  # of the card: no other stage reads it
    config: str | None = field(default=None, metadata=ABSENT)  # folder with the architecture of a single file
    vae: str | None = field(default=None, metadata=ABSENT)  # file whose VAE a single file gets
    digest: str | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True)
class PreviewBase(Base):
    """A base and how previews are rendered on it."""

    negative: str = ""  # prompt
    sampler: str = "DPM++ 2M"  # by A1111's name, as the schedule
    schedule: str = "Karras"
    guidance: float = 7.0
    rescale: float = 0.0  # of the guidance (Lin et al. 2023, arXiv:2305.08891)


@dataclass(frozen=True, kw_only=True)
class SelectionRule(Params):
    """The rule that chooses a checkpoint."""

    scores: Mapping[str, float]  # weight of each score in the mean
    first: float  # share of the prompts of the first round
    keep: float  # share of a round's checkpoints that stay


@dataclass(frozen=True, kw_only=True)
class Policy(Params):
    """What may be published of a character: their age, and what config, policy and removals say of it."""

    age: str  # adult, minor, unknown
    ratings: tuple[str, ...]
    blocked: tuple[str, ...]  # tags of pictures, outfits and prompts; empty of an adult
    public: bool = False  # whether pictures may lie in repositories that everybody can read
    reason: str | None = None  # why the policy was changed
    removals: Mapping[str, list[str]] | None = field(
        default=None, metadata=ABSENT
    )  # ids by kind: posts, artists, pictures

    def removed(self, kind: str) -> list[str]:
        return (self.removals or {}).get(kind, [])


@dataclass(frozen=True, kw_only=True)
class Origin(Params):
    """One source of a character: a board (`name`, the keys of `boards`, `query`), files of the user's (`path`), a
    dataset of the hub (`repo`), or a source of waifuc."""

    kind: str  # board, folder, archive, video, dataset, waifuc
    quota: int | None = field(default=None, metadata=ABSENT)  # pictures to take from it, at most
    path: str | None = field(default=None, metadata=ABSENT)
    content: str | None = field(default=None, metadata=ABSENT)  # digest of its files: content decides
    hub: str | None = field(default=None, metadata=ABSENT)  # address, or a folder laid out as <repo>/<file>
    repo: str | None = field(default=None, metadata=ABSENT)
    revision: str | None = field(default=None, metadata=ABSENT)
    files: tuple[str, ...] | None = field(default=None, metadata=ABSENT)  # patterns of the repo's files; None: all
    waifuc: Mapping[str, Any] | None = field(default=None, metadata=ABSENT)  # {class, args, options, unrated}
    query: str | None = field(default=None, metadata=ABSENT)
    name: str | None = field(default=None, metadata=ABSENT)
    dialect: str | None = field(default=None, metadata=ABSENT)
    root: str | None = field(default=None, metadata=ABSENT)
    seconds_between_requests: float | None = field(default=None, metadata=ABSENT)
    file_roots: tuple[str, ...] | None = field(default=None, metadata=ABSENT)  # of files inside the user's network
    url: str | None = field(default=None, metadata=ABSENT)  # of a search, where gallery-dl lists
    family: str | None = field(default=None, metadata=ABSENT)  # gallery-dl's name of a dialect
    mirror: Mapping[str, str] | None = field(default=None, metadata=ABSENT)  # of its files on the hub: {repo, revision}
    unrated: str | None = field(default=None, metadata=ABSENT)  # what stands for the rating of a site without any


# --- the stages


@dataclass(frozen=True, kw_only=True)
class Models(Params):
    hub: str  # address, or a folder laid out as <repo>/<file>
    lock: tuple[Mapping[str, Any], ...]  # {repo, repo_type, revision, files: {path: SHA-256 or null}}


@dataclass(frozen=True, kw_only=True)
class Raw(Stage):
    limit: int
    minimum: int
    ratings: tuple[str, ...]
    maximum_pixels: int
    maximum_bytes: int
    pool: int = 1  # posts listed for each one taken, where `sampling` chooses
    sampling: Mapping[str, float] = field(
        default_factory=dict
    )  # weights of score, favourites, date; none: newest first
    sources: tuple[Origin, ...]
    age: str  # adult, minor, unknown
    seed: int | None = field(default=None, metadata=ABSENT)  # where `sampling` chooses
    removals: Mapping[str, list[str]] | None = field(
        default=None, metadata=ABSENT
    )  # ids by kind: posts, artists, pictures


@dataclass(frozen=True, kw_only=True)
class Measured(Stage):
    pass


@dataclass(frozen=True, kw_only=True)
class Filtered(Stage):
    rules: tuple[str, ...]
    person_confidence: float
    rating_model: float
    classes: tuple[str, ...]
    monochrome: float | None
    text: tuple[str, ...]
    ai: float | None
    short_side: Mapping[str, int]  # pixels, by kind of view
    area: Mapping[str, int]  # pixels, by kind of view
    sharpness: float | None
    aesthetic: float | None
    duplicate: float | None
    duplicate_distance: int  # bits
    duplicate_similarity: float
    identity: float | None
    identity_minimum: int
    references: tuple[str, ...]
    held_out: float
    seed: int
    tag: str | None  # the character's tag on the board
    ratings: tuple[str, ...]
    blocked: tuple[str, ...] | None = field(default=None, metadata=ABSENT)  # tags; None: of an adult, who has none
    variants: bool = False  # whether a drawing with another face is kept
    trust: str | None = None  # identity: every picture shows the character; all: every picture may train


@dataclass(frozen=True, kw_only=True)
class Curation(Stage):
    pass


@dataclass(frozen=True, kw_only=True)
class Tagged(Stage):
    thresholds: Mapping[str, float]  # by what a tag speaks of: people, person, clothing, other
    board_tags: bool
    core_share: float
    core_add: tuple[str, ...]
    core_forbid: tuple[str, ...]
    blacklist: tuple[str, ...]
    tag: str | None
    trigger: str = ""  # the roster's: it stands first in every caption, and nowhere else
    captions: str = "mine_first"  # mine, mine_first, merged: what the tags of a folder's side files count


@dataclass(frozen=True, kw_only=True)
class Clustered(Stage):
    minimum_support: int  # views
    minimum_stability: float
    resamples: int
    balance: float
    repeats_most: int
    seed: int
    trigger: str
    captions: str = "mine_first"  # of `Tagged`


@dataclass(frozen=True, kw_only=True)
class Outfits(Stage):
    seed: int
    prefix: str  # of prompts on the base that is trained on
    suffix: str


@dataclass(frozen=True, kw_only=True)
class Dataset(Stage):
    resolution: int  # pixels
    format: str  # WEBP, JPEG, PNG
    quality: int
    pictures: str = EMBEDDED  # or LINKS
    kohya: bool = False  # whether an archive for kohya's trainers lies in it
    repositories: Mapping[str, str] | None = field(default=None, metadata=ABSENT)  # as of `Model`
    contact: str = ""
    policy: Policy | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True)
class Previews(Stage):
    bases: tuple[PreviewBase, ...]  # the one that is trained on first
    width: int  # pixels
    height: int
    steps: int
    seeds: int
    scenes: int
    weights: tuple[float, ...]
    sweep: float
    batch: int
    rating_model: float
    memorised: float
    threads: int
    precision: str = "auto"  # until it is decided, then fp32, fp16, bf16: of the UNet
    seed: int
    selection: SelectionRule


@dataclass(frozen=True, kw_only=True)
class Selection(Stage, SelectionRule):
    minimum: float  # share of previews that must be recognised


@dataclass(frozen=True, kw_only=True)
class Model(Stage):
    base: PreviewBase
    repositories: Mapping[str, str] | None = field(default=None, metadata=ABSENT)  # on a hub: model, dataset, endpoint
    contact: str = ""  # for requests of removal
    policy: Policy | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True)
class Target(Params):
    """Where something is published to: a folder, or a hub with a repository for each dataset and each model."""

    kind: str  # folder, hub
    path: str | None = field(default=None, metadata=ABSENT)  # of a folder; the rest is of a hub
    endpoint: str | None = field(default=None, metadata=ABSENT)  # address
    namespace: str | None = field(default=None, metadata=ABSENT)  # user or organisation
    dataset: str | None = field(default=None, metadata=ABSENT)  # names of the repositories, with `{character}`
    model: str | None = field(default=None, metadata=ABSENT)

    def repository(self, kind: str, character: str) -> str:
        """The name on the hub of a character's `dataset` or `model`, with the namespace."""
        name = {"dataset": self.dataset, "model": self.model}[kind]
        assert name is not None
        return f"{self.namespace}/{name.replace(CHARACTER, character)}"

    def without_place(self) -> dict[str, Any]:
        """What a receipt's version is a function of: no path, and no address, which may be a mirror's."""
        return {key: value for key, value in self.plain().items() if key not in ("path", "endpoint")}


@dataclass(frozen=True, kw_only=True)
class Published(Stage):
    private: bool
    weak: bool  # whether a weak model is published, too
    target: Target
    policy: Policy | None = field(default=None, metadata=ABSENT)
    roster: Mapping[str, str] | None = field(default=None, metadata=ABSENT)  # the character's row, without a path


@dataclass(frozen=True, kw_only=True)
class Report(Stage):
    pass


# --- training


@dataclass(frozen=True, kw_only=True)
class Settings(Params):
    """What a recipe sets; a setting that depends on the number of pictures is absent until `settled`."""

    steps: int | None = field(default=None, metadata=ABSENT)
    save_every: int | None = field(default=None, metadata=ABSENT)
    batch: int | None = field(default=None, metadata=ABSENT)
    resolution: int | None = field(default=None, metadata=ABSENT)
    buckets: int | None = field(default=None, metadata=ABSENT)
    rank: int | None = field(default=None, metadata=ABSENT)
    alpha: float | None = field(default=None, metadata=ABSENT)
    rate_unet: float | None = field(default=None, metadata=ABSENT)
    rate_text: float | None = field(default=None, metadata=ABSENT)
    rate_embedding: float | None = field(default=None, metadata=ABSENT)
    vectors: int | None = field(default=None, metadata=ABSENT)
    text_only: float | None = field(default=None, metadata=ABSENT)
    caption_dropout: float | None = field(default=None, metadata=ABSENT)
    tag_dropout: float | None = field(default=None, metadata=ABSENT)
    warmup: int | None = field(default=None, metadata=ABSENT)
    ema: float | None = field(default=None, metadata=ABSENT)
    min_snr: float | None = field(default=None, metadata=ABSENT)
    gradient_checkpointing: bool | None = field(default=None, metadata=ABSENT)
    optimizer: str | None = field(default=None, metadata=ABSENT)
    caption_tokens: int | None = field(default=None, metadata=ABSENT)
    masked_loss: bool | None = field(default=None, metadata=ABSENT)
    compile: bool | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True)
class TrainingFacts(Stage):
    """What a training reads besides its settings."""

    base: Base
    recipe: str
    threads: int
    precision: str  # auto (until it is decided), fp32, fp16, bf16
    early_stopping: int | None  # checkpoints in a row that may be no better than the best before them
    mode: str  # reproducible, fast
    regularisation: str | None  # folder of pictures
    regularisation_batch: int
    regularisation_weight: float
    seed: int
    trigger: str
    regularisation_digest: str | None = field(default=None, metadata=ABSENT)
    previews: Previews | None = field(default=None, metadata=ABSENT)  # where early stopping asks for them


@dataclass(frozen=True, kw_only=True)
class Checkpoints(TrainingFacts, Settings):
    by_pictures: tuple[Mapping[str, Any], ...] = ()  # settings by number of training pictures

    def settled(self, pictures: int) -> "Training":
        """The settings for so many training pictures. Raises TypeError where neither recipe nor config has one."""
        return Training.of(settled(self.plain(), pictures))


@dataclass(frozen=True, kw_only=True)
class Training(TrainingFacts):
    """One training whose settings are all decided."""

    steps: int
    save_every: int  # steps
    batch: int  # pictures
    resolution: int  # pixels: the square of it is the area of a bucket
    buckets: int  # of aspect ratio, at most
    rank: int
    alpha: float
    rate_unet: float
    rate_text: float
    rate_embedding: float
    vectors: int  # of the embedding; 0: none is trained
    text_only: float  # share of captions without the embedding's word
    caption_dropout: float  # share of steps that read no caption
    tag_dropout: float  # share of a caption's tags that a step leaves out
    warmup: int  # steps
    ema: float  # decay of the moving average of the weights, per step
    min_snr: float  # gamma of the min-SNR weights (Hang et al. 2023, arXiv:2303.09556)
    gradient_checkpointing: bool
    optimizer: str  # adamw, adamw8bit, prodigy
    caption_tokens: int  # at most, without the first and the last token of each chunk of 75
    masked_loss: bool
    compile: bool


STAGE_PARAMS: dict[str, type[Stage]] = {
    "raw": Raw,
    "measured": Measured,
    "filtered": Filtered,
    "curation": Curation,
    "tagged": Tagged,
    "clustered": Clustered,
    "outfits": Outfits,
    "dataset": Dataset,
    "checkpoints": Checkpoints,
    "previews": Previews,
    "selection": Selection,
    "model": Model,
    "published": Published,
    "report": Report,
}
