"""Which outfits are trained, and how often an epoch shows their views: a rare outfit is learned, a common one does not
drown it.
"""

from charaloom.artifacts.types import Row
from charaloom.config.params import Clustered
from charaloom.outfits.names import Outfit


def decide(outfit: Outfit, views: list[Row], params: Clustered) -> None:
    """Whether an outfit is trained; if not, why not, in words."""
    missing = params.minimum_support - len(outfit.members)
    outfit.training = [index for index in outfit.members if views[index]["split"] == "train"]
    if missing > 0:
        outfit.why_not = f"{missing} more {'picture' if missing == 1 else 'pictures'} needed"
    elif outfit.stability < params.minimum_stability:
        outfit.why_not = f"stability {outfit.stability:.2f} is below {params.minimum_stability}"
    elif not (outfit.signature or outfit.official):
        outfit.why_not = "no tag tells it from the others"
    elif not outfit.training:
        outfit.why_not = "all its pictures are held out"
    outfit.trained = outfit.why_not is None


def folder_repeats(views: list[Row], params: Clustered) -> list[int]:
    """How often the names of the user's folders show each view, the least of them once: kohya's `10_a` and `5_b` are 2
    and 1, a picture beside such folders is 1."""
    asked = [view["repeats"] for view in views]
    least = min(filter(None, asked), default=1)
    return [min(max(round((number or least) / least), 1), params.repeats_most) for number in asked]


def balance(outfits: list[Outfit], own_repeats: list[int], params: Clustered) -> None:
    """Repeats of trained outfits' views: `balance` 0 leaves them as they are, 1 shows all outfits equally often."""
    trained = [outfit for outfit in outfits if outfit.trained]
    most = max((seen(outfit, own_repeats) for outfit in trained), default=0)
    for outfit in trained:
        wanted = round((most / seen(outfit, own_repeats)) ** params.balance)
        outfit.repeats = min(max(wanted, 1), params.repeats_most)


def seen(outfit: Outfit, own_repeats: list[int]) -> int:
    """How many pictures of an outfit one pass over the dataset shows."""
    return outfit.repeats * sum(own_repeats[index] for index in outfit.training)


def epoch(views: list[Row], outfits: list[Outfit], own_repeats: list[int]) -> int:
    """How many training pictures one pass over the dataset shows, repeats counted."""
    extra = sum(seen(outfit, own_repeats) * (outfit.repeats - 1) // outfit.repeats for outfit in outfits)
    return sum(own_repeats[index] for index, view in enumerate(views) if view["split"] == "train") + extra
