"""The rules of the filters: which views are dropped, by which score and threshold.

A new rule is one function below. Under `@threshold_rule` it returns a view's score and the threshold, under
`@yes_no_rule` whether the view is dropped. Its name goes into the enum of `filtered.rules` in
config/schemas/config.schema.yaml, its threshold into the schema and `Filtered` (config/params.py), and its line into
the table of docs/curation.md.

`filtered.rules` in the config says which rules apply, in which order. A threshold of None records the score and drops
nothing. `duplicate` and `identity` judge all candidates together, in modules of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from charaloom.artifacts.rounding import rounded
from charaloom.artifacts.types import Row
from charaloom.config.params import Filtered
from charaloom.curation.views import Reason, View
from charaloom.tagging.vocabulary import ALTERNATE_TAGS, COSPLAY, COSPLAY_ENDING, blocked_tags

FROM, ABOVE, BELOW = "from", "above", "below"  # which scores drop a view: from the threshold on, above it, below it
UNSHOWN = frozenset(
    {"rating", "rating_model", "minor"}
)  # rules whose views nobody is shown, whichever rule dropped them first
OBLIGATORY = ("problem", "not_a_candidate", "rating", "rating_model")  # no config leaves them out
MINOR = "minor"  # applies by the policy alone, whatever the config says
OF_IDENTITY = ("cosplay", "alternate_costume")  # needless where every picture is known to show the character
FINAL = ("problem", "not_a_candidate")  # no later rule judges the views that these drop

RATINGS = ("general", "sensitive", "questionable", "explicit")  # from the mildest on
CLASS_SHARE = 0.5  # score of the class model that the allowed classes need together, set by hand
TEXT_SCORE = 0.5  # score at which the tagger's text tag counts as the board's does, set by hand
BLOCKED_SCORE = 0.35  # score at which the tagger's blocked tag counts as the board's does, set by hand
AI_TAGS = frozenset({"ai-generated", "ai_generated", "ai-assisted", "ai-created"})

Number = float | int | None
ThresholdJudge = Callable[[View, Filtered], tuple[Number, Number]]  # (score, threshold); a score of None: not judged
YesNoJudge = Callable[[View, Filtered], bool]


@dataclass(frozen=True)
class Rule:
    """A rule of the config. `drops` is FROM, ABOVE or BELOW; empty where there is no score."""

    name: str
    words: str  # what it means, on the pages
    drops: str = ""
    threshold_judge: ThresholdJudge | None = None
    yes_no_judge: YesNoJudge | None = None

    def fires(self, score: float, threshold: float) -> bool:
        return {FROM: score >= threshold, ABOVE: score > threshold, BELOW: score < threshold}[self.drops]


RULES: dict[str, Rule] = {}  # by name, in the order of this file


def threshold_rule(words: str, drops: str) -> Callable[[ThresholdJudge], ThresholdJudge]:
    """Register a function as the rule of its name: it returns the score and the threshold of a view."""

    def register(judge: ThresholdJudge) -> ThresholdJudge:
        RULES[judge.__name__] = Rule(judge.__name__, words, drops, threshold_judge=judge)
        return judge

    return register


def yes_no_rule(words: str) -> Callable[[YesNoJudge], YesNoJudge]:
    """Register a function as the rule of its name: it returns whether the rule drops a view."""

    def register(judge: YesNoJudge) -> YesNoJudge:
        RULES[judge.__name__] = Rule(judge.__name__, words, yes_no_judge=judge)
        return judge

    return register


@yes_no_rule("the file could not be read")
def problem(view: View, params: Filtered) -> bool:
    return view.row["problem"] is not None


@yes_no_rule("a part of a picture that does not train by itself")
def not_a_candidate(view: View, params: Filtered) -> bool:
    """Heads and half bodies; a person below `person_confidence`, or who is alone in the picture."""
    return view.row["kind"] != "picture" and not view.is_candidate


@threshold_rule("no person, head or face detected", drops=BELOW)
def nobody(view: View, params: Filtered) -> tuple[Number, Number]:
    """Detections in a picture; crops are not judged."""
    if view.row["kind"] != "picture":
        return None, None
    return len(view.persons) + view.picture["heads"] + view.picture["faces"], 1


@threshold_rule("more than one person in the view", drops=ABOVE)
def several_people(view: View, params: Filtered) -> tuple[Number, Number]:
    """Persons in the picture, or heads in the view where there are more."""
    return max(len(view.persons), view.heads) if view.row["kind"] == "picture" else view.heads, 1


@threshold_rule("rated above what is allowed, by the source", drops=ABOVE)
def rating(view: View, params: Filtered) -> tuple[Number, Number]:
    """The strictest rating among its posts, as its place in RATINGS."""
    allowed = max(RATINGS.index(name) for name in params.ratings)
    return max((RATINGS.index(post["rating"]) for post in view.posts if post["rating"] in RATINGS), default=0), allowed


@threshold_rule("rated above what is allowed, by the rating model", drops=FROM)
def rating_model(view: View, params: Filtered) -> tuple[Number, Number]:
    """Sum of the scores of r15 and r18, 0 to 1."""
    scores = named(view.picture["rating"])
    return scores.get("r15", 0.0) + scores.get("r18", 0.0), params.rating_model


@threshold_rule("swimwear, underwear or suggestive, and the character is not known to be an adult", drops=FROM)
def minor(view: View, params: Filtered) -> tuple[Number, Number]:
    """1 where the source has a tag that the policy blocks, else the tagger's highest score of one."""
    if not params.blocked:
        return None, None
    source_tags = blocked_tags(view.tags("general", "meta", "character"), params.blocked)
    return 1.0 if source_tags else view.blocked, BLOCKED_SCORE


@threshold_rule("no illustration: comic, photo, 3d or no painting", drops=BELOW)
def classes(view: View, params: Filtered) -> tuple[Number, Number]:
    """Sum of the scores of the allowed classes, 0 to 1; without a list of classes all are allowed."""
    scores = named(view.picture["classes"])
    return sum(scores.get(name, 0.0) for name in params.classes), CLASS_SHARE if params.classes else None


@threshold_rule("black and white", drops=FROM)
def monochrome(view: View, params: Filtered) -> tuple[Number, Number]:
    """Score of the monochrome model, 0 to 1."""
    return view.picture["monochrome"], params.monochrome


@threshold_rule("much text in it: bubbles, covers, watermarks", drops=FROM)
def text(view: View, params: Filtered) -> tuple[Number, Number]:
    """1 where a board has one of the config's text tags, else the tagger's highest score of them."""
    if not params.text:
        return None, None
    board_tags = view.tags("general", "meta") & set(params.text)
    return 1.0 if board_tags else view.text, TEXT_SCORE


@yes_no_rule("AI-made, by its tags")
def ai_tag(view: View, params: Filtered) -> bool:
    return bool(view.tags("meta", "general") & AI_TAGS)


@yes_no_rule("AI-made, by generation data in the file")
def ai_parameters(view: View, params: Filtered) -> bool:
    return bool(view.picture["generated"])


@threshold_rule("AI-made, by the model", drops=FROM)
def ai(view: View, params: Filtered) -> tuple[Number, Number]:
    """Score of the AI-made model, 0 to 1."""
    return view.picture["ai"], params.ai


@threshold_rule("short side too small", drops=BELOW)
def short_side(view: View, params: Filtered) -> tuple[Number, Number]:
    """Pixels of the original."""
    return min(view.row["width"], view.row["height"]), params.short_side[view.row["kind"]]


@threshold_rule("too few pixels", drops=BELOW)
def area(view: View, params: Filtered) -> tuple[Number, Number]:
    """Pixels of the original."""
    return view.row["width"] * view.row["height"], params.area[view.row["kind"]]


@threshold_rule("blurred", drops=BELOW)
def sharpness(view: View, params: Filtered) -> tuple[Number, Number]:
    """Variance of the Laplacian."""
    return view.row["sharpness"], params.sharpness


@threshold_rule("drawn less well than most, by the aesthetic model", drops=BELOW)
def aesthetic(view: View, params: Filtered) -> tuple[Number, Number]:
    """Share of pictures that the aesthetic model rates lower."""
    return view.picture["aesthetic"], params.aesthetic


@yes_no_rule("cosplay of the character or by the character, by its tags")
def cosplay(view: View, params: Filtered) -> bool:
    """Tags do not say which person of a picture they describe, so the whole picture is dropped."""
    tags = view.tags("general", "character", "meta")
    return any(tag == COSPLAY or tag.endswith(COSPLAY_ENDING) for tag in tags)


@yes_no_rule("in clothes that are not the character's own, by its tags")
def alternate_costume(view: View, params: Filtered) -> bool:
    return bool(view.tags("general") & ALTERNATE_TAGS)


RULES["duplicate"] = Rule("duplicate", "the same drawing as a better copy", FROM)
RULES["identity"] = Rule(
    "identity", "somebody else, by the distance to the character's cluster, by traits and tags", ABOVE
)


def apply_rule(rule: Rule, views: list[View], params: Filtered) -> None:
    """Judge each view by one rule, and record its score and whether the rule drops it."""
    for view in views:
        if rule.yes_no_judge and rule.yes_no_judge(view, params):
            view.reasons.append(Reason(rule.name))
        if rule.threshold_judge:
            score, threshold = rule.threshold_judge(view, params)
            if score is not None:
                record_score(view, rule, float(score), None if threshold is None else float(threshold))


def record_score(view: View, rule: Rule, score: float, threshold: float | None) -> None:
    """Add a candidate's score, and a reason where the rule drops the view."""
    reason = Reason(rule.name, rounded(score), threshold)
    if view.is_candidate:
        view.scores.append(reason)
    if threshold is not None and rule.fires(rounded(score), threshold):
        view.reasons.append(reason)


def named(scores: list[Row] | None) -> dict[str, float]:
    """Scores by name, of a column of named scores."""
    return {pair["name"]: pair["score"] for pair in scores or []}
