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


def balance(outfits: list[Outfit], params: Clustered) -> None:
    """Repeats of trained outfits' views: `balance` 0 leaves every view once, 1 shows all outfits equally often."""
    trained = [outfit for outfit in outfits if outfit.trained]
    most = max((len(outfit.training) for outfit in trained), default=0)
    for outfit in trained:
        wanted = round((most / len(outfit.training)) ** params.balance)
        outfit.repeats = min(max(wanted, 1), params.repeats_most)


def epoch(views: list[Row], outfits: list[Outfit]) -> int:
    """How many training pictures one pass over the dataset shows, repeats counted."""
    extra = sum(len(outfit.training) * (outfit.repeats - 1) for outfit in outfits)
    return sum(view["split"] == "train" for view in views) + extra
