"""Base models by the names that a hub has for them, also where a config names only a file on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charaloom.config.params import HUB
from charaloom.publishing.cards.markdown import code_span, link

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class HubBase:
    """A base model of a hub: its repository, and the one file in it that is used, or None for its diffusers folder."""

    repo: str
    file: str | None = None
    revision: str | None = None
    licence: str | None = None


# Files by the SHA-256 that model sites show: Animagine's stands in config/config.yaml; the others as public lists of
# models and the sites' own pages name them (2026-11-29). Pony's author has no repository on the hub.
KNOWN = {
    "6327eca98bfb6538dd7a4edce22484a1bbc57a8cff6b11d075d40da1afb847ac": HubBase(
        "cagliostrolab/animagine-xl-4.0", "animagine-xl-4.0-opt.safetensors", licence="openrail++"
    ),
    "6681e8e4b134c81f16533acedb0d406d7e5e366e1624b4105178c64d00b05d51": HubBase(
        "Laxhar/noobai-XL-1.1", "NoobAI-XL-v1.1.safetensors", licence="noobai-xl"
    ),
    "ea349eeae87ca8d25ba902c93810f7ca83e5c82f920edf12f273af004ae02819": HubBase(
        "Laxhar/noobai-XL-Vpred-1.0", "NoobAI-XL-Vpred-v1.0.safetensors", licence="noobai-xl"
    ),
    "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa": HubBase(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "v1-5-pruned-emaonly.safetensors",
        licence="creativeml-openrail-m",
    ),
}


def hub_base(entry: Mapping[str, Any], digest: str | None) -> HubBase | None:
    """The hub's name of a base; `entry` is its entry of the config, `digest` its SHA-256. None where neither says."""
    if entry.get("repo"):
        return HubBase(entry["repo"], entry.get("file"), entry.get("revision"))
    return KNOWN.get(digest or "")


def base_label(entry: Mapping[str, Any], digest: str | None) -> "Markup":
    """A base as a card names it: its name, with a link where a hub has it."""
    known = hub_base(entry, digest)
    return link(entry["name"], f"{HUB}/{known.repo}") if known else code_span(entry["name"])
