"""What traits and the boards' tags say of who a view shows, beside CCIP: hair, eyes and accessories forgive less than a
learned distance, and hold where it fails (from behind, in an artist's own hand).

Each trait is a witness of its own, once as the tagger sees it and once as boards tag it. How far one is to be believed
is counted: how often views of the character show it, and how often views of others do (naive Bayes; rounds of counting
and judging, as in expectation maximisation, Dempster, Laird & Rubin 1977). With few views little is said.
"""

from typing import TYPE_CHECKING

from charaloom.artifacts.types import PathLike
from charaloom.curation.views import View, tag_scores, tags_seen
from charaloom.tagging.vocabulary import hidden, is_identity

if TYPE_CHECKING:
    import numpy as np

# Set by hand, where noted on the hard demo worlds of seeds 11 and 12.
SEEN = 0.35  # the tagger's score of a trait that it sees
LEAST_VIEWS = 5  # that show a trait, by one witness, for it to count
CCIP_THRESHOLD = 0.17847511429108218  # the model's own
USUAL = 2.5  # times the median distance of a character's clear views, at which CCIP says neither yes nor no (11, 12)
CLEARLY_OTHERS = 1.6  # times the threshold, from which a distance is clearly that of somebody else (11, 12)
STEEPNESS, WORST = 4.0, 1.5  # log odds that CCIP gives a distance of 0; times that at most against a view (11, 12)
FACELESS = 0.3  # of CCIP's log odds where no face is seen, from which it learned to tell people (11, 12)
MOST = 12.0  # log odds that all other evidence together counts at most
ELSEWHERE, ELSEWHERE_VIEWS = 0.08, 6.0  # share of others who show any trait, before any were seen; views that is worth
ROUNDS = 5
THOROUGH = 8  # general tags of a board from which a missing trait says something
BEHIND = frozenset({"from_behind", "facing_away"})
SAME_PERSON_AGAIN = frozenset({"multiple_views", "dual_persona", "multiple_persona", "time_paradox", "comic"})


def judged_with_traits(
    views: list[View], supports: dict[str, float] | None, measured: PathLike, threshold: float
) -> "np.ndarray":
    """How much like somebody else the views [n] are, from 0 to twice the threshold; equal odds lie at `threshold`.

    `supports`: how surely the boards' tags name the character alone, 0 to 1; None where there are none. Of several
    persons in one picture, only one is the character.
    """
    import numpy as np

    distances = np.array([view.distance for view in views], dtype=float)
    passed = np.array([not view.reasons for view in views])
    clear = clearly_own(distances, passed, threshold)
    by_ccip = ccip_odds(views, distances, clear, threshold)
    shown, known = witnesses(views, measured)
    odds, own, others = by_ccip, clear, passed & (distances > CLEARLY_OTHERS * threshold)
    for _ in range(ROUNDS):
        more = prior(views, supports, odds > 0, passed) + trait_odds(shown, known, own, others)
        odds = by_ccip + np.clip(one_of_each_picture(views, by_ccip, more), -MOST, MOST)
        own, others = passed & (odds > 0), passed & (odds <= 0)
    return 2 * threshold / (1 + np.exp(odds / 2))


def clearly_own(distances: "np.ndarray", passed: "np.ndarray", threshold: float) -> "np.ndarray":
    """The nearer half of the views within the threshold: whoever is much like the character is not among them."""
    import numpy as np

    near = passed & (distances <= threshold)
    return near & (distances <= np.median(distances[near])) if near.any() else near


def ccip_odds(views: list[View], distances: "np.ndarray", clear: "np.ndarray", threshold: float) -> "np.ndarray":
    """Log odds [n] by the distances, against what is usual of this character; less where nobody's face is seen."""
    import numpy as np

    usual = USUAL * np.median(distances[clear]) / CCIP_THRESHOLD if clear.any() else 1.0
    odds = STEEPNESS * np.clip(1 - distances / (threshold * min(usual, 1.0)), -WORST, 1)
    return np.where([not BEHIND.isdisjoint(view.tags("general")) for view in views], FACELESS * odds, odds)


def witnesses(views: list[View], measured: PathLike) -> tuple["np.ndarray", "np.ndarray"]:
    """Which view shows which trait, by tagger and by board: [n, traits] as 0 and 1; and where that can be known."""
    import numpy as np

    names = [tag for tag in tags_seen(measured) if is_identity(tag)]
    scores = tag_scores(measured, names)
    columns = []
    by_tagger = [{tag for tag, score in scores.get(view.name, {}).items() if score >= SEEN} for view in views]
    by_board = [view.tags("general") if view.row["kind"] == "picture" else set() for view in views]
    tags = [first | second for first, second in zip(by_tagger, by_board, strict=True)]
    thorough = [len(found) >= THOROUGH for found in by_board]
    for seen, reliable in ((by_tagger, [True] * len(views)), (by_board, thorough)):
        present = sorted({tag for found in seen for tag in found if is_identity(tag)})
        for tag in present:
            shows = np.array([tag in found for found in seen])
            if shows.sum() >= LEAST_VIEWS:
                visible = np.array([not hidden(tag, found - {tag}) for found in tags])
                # Where the other one sees it, a witness only overlooked it.
                silent = np.array([tag in found for found in tags]) & ~shows
                columns.append((shows & visible, (shows | np.array(reliable)) & visible & ~silent))
    if not columns:
        return np.zeros((len(views), 0)), np.zeros((len(views), 0))
    shown, known = zip(*columns, strict=True)
    return np.column_stack(shown).astype(float), np.column_stack(known).astype(float)


def trait_odds(shown: "np.ndarray", known: "np.ndarray", own: "np.ndarray", others: "np.ndarray") -> "np.ndarray":
    """Log odds [n] by the traits, whose shares are counted over the views that are the character's and the others."""
    import numpy as np

    if not shown.size:
        return np.zeros(len(shown))
    everywhere = ELSEWHERE * ELSEWHERE_VIEWS

    def share(group: "np.ndarray") -> "np.ndarray":
        return (shown[group].sum(axis=0) + everywhere) / (known[group].sum(axis=0) + ELSEWHERE_VIEWS)

    here, elsewhere = share(own), share(others)
    for_it, against = np.log(here / elsewhere), np.log((1 - here) / (1 - elsewhere))
    return shown @ for_it + (known - shown) @ against


def prior(
    views: list[View], supports: dict[str, float] | None, own: "np.ndarray", passed: "np.ndarray"
) -> "np.ndarray":
    """Log odds [n] before the picture is looked at: how often boards are right that name the character alone."""
    import numpy as np

    if supports is None:
        return np.zeros(len(views))
    support = np.array([supports.get(view.name, 0.0) for view in views])
    sole = passed & (support == 1)
    right = (own[sole].sum() + 1) / (sole.sum() + 2)
    chance = np.clip(right * support, 0.05, 0.95)
    return np.log(chance / (1 - chance))


def one_of_each_picture(views: list[View], by_ccip: "np.ndarray", more: "np.ndarray") -> "np.ndarray":
    """The evidence, less what speaks for another person of the same picture: at most one of them is the character."""
    import numpy as np

    odds = np.clip(by_ccip + more, -30, 30)
    together: dict[str, list[int]] = {}
    for index, view in enumerate(views):
        if view.row["kind"] == "person" and not SAME_PERSON_AGAIN & view.tags("general"):
            together.setdefault(view.row["picture"], []).append(index)
    result = more.copy()
    for members in together.values():
        chances = np.exp(odds[members])
        result[members] -= np.log1p(chances.sum() - chances)
    return result
