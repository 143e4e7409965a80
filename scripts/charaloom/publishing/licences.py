"""Licences of base models: the ids that the hub knows, where each is read, and what it demands of a LoRA.

What they demand stands in the cards' texts, in each language, under the names in `terms` (`cards/texts/`, `terms`).
"""

import re
from dataclasses import dataclass

from charaloom.artifacts.types import Row

HUB = {  # ids that the hub knows (huggingface.co/docs/hub/repositories-licenses); others become `other` and a name
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "bigscience-openrail-m": "https://huggingface.co/spaces/bigscience/license",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc-by-nc-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "cc-by-nc-sa-4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "cc-by-sa-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "creativeml-openrail-m": "https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    "gpl-3.0": "https://www.gnu.org/licenses/gpl-3.0.html",
    "mit": "https://opensource.org/license/mit",
    "openrail": "https://www.licenses.ai/ai-licenses",
    "openrail++": "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
}
FAIR_AI = "https://freedevproject.org/faipl-1.0-sd/"
OWN = {  # of model authors: where they are read
    "fair-ai-public-license-1.0-sd": FAIR_AI,
    "noobai-xl": "https://huggingface.co/Laxhar/noobai-XL-1.1",
    "pony-diffusion-v6-xl": "https://civitai.com/models/257749",
}
TERMS = {  # what each demands, as the cards' texts name it
    "creativeml-openrail-m": ("openrail",),
    "openrail++": ("openrail",),
    "fair-ai-public-license-1.0-sd": ("fair_ai",),
    "noobai-xl": ("fair_ai", "noobai"),
    "pony-diffusion-v6-xl": ("fair_ai", "pony"),
    "cc-by-nc-4.0": ("no_money",),
    "cc-by-nc-sa-4.0": ("no_money", "share_alike"),
    "cc-by-sa-4.0": ("share_alike",),
}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Licence:
    """The licence of a base model: its name, where it is read, what it demands."""

    name: str
    address: str | None
    terms: tuple[str, ...]

    @property
    def metadata(self) -> Row:
        """How the front matter of a card names it."""
        if self.name in HUB:
            return {"license": self.name}
        named = {"license": "other", "license_name": self.name}
        return named | ({"license_link": self.address} if self.address else {})


def licence_of(written: str | None) -> Licence:
    """The licence that a config names, by its id or in words."""
    name = re.sub(r"[^a-z0-9.+-]+", "-", (written or "").lower()).strip("-") or UNKNOWN
    return Licence(name, HUB.get(name) or OWN.get(name), TERMS.get(name, ()))
