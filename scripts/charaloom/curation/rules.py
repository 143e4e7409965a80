"""The rules of the filters: what each looks at, and where it drops a view.

A rule that judges one view is one function here; its threshold is the config key of its name. `duplicate` and
`identity` judge all candidates at once and live in modules of their own. `filtered.rules` in the config says which are
asked and in which order; a threshold of null asks for the number alone: it is shown, and drops nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from charaloom.curation.views import Params, Reason, View, decided
from charaloom.tagging.vocabulary import ALTERNATE_TAGS, COSPLAY, COSPLAY_ENDING

RATINGS = ("general", "sensitive", "questionable", "explicit")
ALLOWED_RATINGS = ("general",)  # where the params name none
CLASS_SHARE = 0.5  # of the class model's score that the allowed classes have at least
TEXT_SCORE = 0.5  # at which the tagger's word for text counts as the board's does
AI_TAGS = frozenset({"ai-generated", "ai_generated", "ai-assisted", "ai-created"})
FINAL = ("problem", "not_a_candidate")  # nothing else is asked of these views

Number = float | int | bool | None
Judge = Callable[[View, Params], tuple[Number, Number]]


@dataclass(frozen=True)
class Rule:
    """`drops` says which scores drop a view: `from` the threshold on, `above` it, `below` it; empty: no number."""

    name: str
    words: str  # what it means to a person
    drops: str
    judge: Judge | None  # (score, threshold) of a view; None where all candidates are judged at once

    def fires(self, score: float, threshold: float) -> bool:
        return {"from": score >= threshold, "above": score > threshold, "below": score < threshold}[self.drops]


RULES: dict[str, Rule] = {}


def rule(words: str, drops: str = "") -> Callable[[Judge], Judge]:
    """Register a function as the rule of its name. Without `drops` its score is a yes or no."""

    def register(judge: Judge) -> Judge:
        RULES[judge.__name__] = Rule(judge.__name__, words, drops, judge)
        return judge

    return register


@rule("the file could not be read")
def problem(view: View, params: Params) -> tuple[Number, Number]:
    return view.row["problem"] is not None, None


@rule("a part of a picture that does not train by itself")
def not_a_candidate(view: View, params: Params) -> tuple[Number, Number]:
    """Heads and half bodies never train by themselves; neither do an unsure person and the one of a picture of one."""
    return view.row["kind"] != "picture" and not view.is_candidate, None


@rule("no person, head or face found", "below")
def nobody(view: View, params: Params) -> tuple[Number, Number]:
    if view.row["kind"] != "picture":
        return None, None
    return len(view.persons) + view.picture["heads"] + view.picture["faces"], 1


@rule("more than one person in the view", "above")
def several_people(view: View, params: Params) -> tuple[Number, Number]:
    """More than one person in the picture, or more than one head in the view."""
    return max(len(view.persons), view.heads) if view.row["kind"] == "picture" else view.heads, 1


@rule("rated above what is allowed, by the source", "above")
def rating(view: View, params: Params) -> tuple[Number, Number]:
    """The strictest rating among its posts (general 0 … explicit 3)."""
    allowed = max(RATINGS.index(name) for name in params.get("ratings", ALLOWED_RATINGS))
    return max((RATINGS.index(post["rating"]) for post in view.posts if post["rating"] in RATINGS), default=0), allowed


@rule("rated above what is allowed, by the rating model", "from")
def rating_model(view: View, params: Params) -> tuple[Number, Number]:
    scores = named(view.picture["rating"])
    return scores.get("r15", 0.0) + scores.get("r18", 0.0), params["rating_model"]


@rule("no illustration: comic, photo, 3d or no painting", "below")
def classes(view: View, params: Params) -> tuple[Number, Number]:
    """The share of the class model's score that the allowed classes have together."""
    scores = named(view.picture["classes"])
    allowed = params["classes"]
    return sum(scores.get(name, 0.0) for name in allowed), CLASS_SHARE if allowed else None


@rule("black and white", "from")
def monochrome(view: View, params: Params) -> tuple[Number, Number]:
    return view.picture["monochrome"], params["monochrome"]


@rule("much text in it: bubbles, covers, watermarks", "from")
def text(view: View, params: Params) -> tuple[Number, Number]:
    """One of the config's text tags, by the board, or by the tagger with that score."""
    if not params["text"]:
        return None, None
    told = view.tags("general", "meta") & set(params["text"])
    return 1.0 if told else view.text, TEXT_SCORE


@rule("AI-made, by its tags")
def ai_tag(view: View, params: Params) -> tuple[Number, Number]:
    return bool(view.tags("meta", "general") & AI_TAGS), None


@rule("AI-made, by generation data in the file")
def ai_parameters(view: View, params: Params) -> tuple[Number, Number]:
    return bool(view.picture["generated"]), None


@rule("AI-made, by the model", "from")
def ai(view: View, params: Params) -> tuple[Number, Number]:
    return view.picture["ai"], params["ai"]


@rule("short side too small", "below")
def short_side(view: View, params: Params) -> tuple[Number, Number]:
    return min(view.row["width"], view.row["height"]), params["short_side"][view.row["kind"]]


@rule("too few pixels", "below")
def area(view: View, params: Params) -> tuple[Number, Number]:
    return view.row["width"] * view.row["height"], params["area"][view.row["kind"]]


@rule("blurred", "below")
def sharpness(view: View, params: Params) -> tuple[Number, Number]:
    return view.row["sharpness"], params["sharpness"]


@rule("drawn less well than most, by the aesthetic model", "below")
def aesthetic(view: View, params: Params) -> tuple[Number, Number]:
    return view.picture["aesthetic"], params["aesthetic"]


@rule("somebody else in her clothes, or she in theirs, by its tags")
def cosplay(view: View, params: Params) -> tuple[Number, Number]:
    """Tags cannot tell which person of a picture they speak of, so all of it goes."""
    tags = view.tags("general", "character", "meta")
    return any(tag == COSPLAY or tag.endswith(COSPLAY_ENDING) for tag in tags), None


@rule("in clothes that are not hers, by its tags")
def alternate_costume(view: View, params: Params) -> tuple[Number, Number]:
    return bool(view.tags("general") & ALTERNATE_TAGS), None


RULES["duplicate"] = Rule("duplicate", "the same drawing as a better copy", "from", None)
RULES["identity"] = Rule("identity", "somebody else, by the distance to her cluster", "above", None)


def judge(views: list[View], asked: Rule, params: Params) -> None:
    """Ask one rule of every view, and write down its number and whether it fires."""
    assert asked.judge is not None
    for view in views:
        score, threshold = asked.judge(view, params)
        if not asked.drops:
            view.reasons += [Reason(asked.name)] * bool(score)
        elif score is not None:
            note(view, asked, float(score), None if threshold is None else float(threshold))


def note(view: View, asked: Rule, score: float, threshold: float | None) -> None:
    """Write down a number of a candidate, and the reason where it drops the view."""
    found = Reason(asked.name, decided(score), threshold)
    view.scores += [found] * view.is_candidate
    if threshold is not None and asked.fires(decided(score), threshold):
        view.reasons.append(found)


def named(scores: list[dict] | None) -> dict[str, float]:
    return {pair["name"]: pair["score"] for pair in scores or []}
