"""Licences of base models: the ids that the hub knows, and what each demands of a LoRA that is passed on."""

HUB = {  # ids that the hub knows (huggingface.co/docs/hub/repositories-licenses); others become `other` and a name
    "apache-2.0",
    "bigscience-openrail-m",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "creativeml-openrail-m",
    "gpl-3.0",
    "mit",
    "openrail",
    "openrail++",
}

OPENRAIL = (
    "Whoever passes the LoRA on passes on the licence's restrictions of use with it (paragraphs 4 and 5, attachment A)."
)
FAIR_AI = (
    "The LoRA is a derived model: who passes it on does so under the same licence and with its source (models count,"
    " datasets do not); the licence's prohibited uses bind its users, too (https://freedevproject.org/faipl-1.0-sd)."
)
TERMS = {  # by licence, as `licence` of a base names it
    "creativeml-openrail-m": OPENRAIL,
    "openrail++": OPENRAIL,
    "fair-ai-public-license-1.0-sd": FAIR_AI,
    "noobai-xl": f"{FAIR_AI} Its author forbids any commercial use of the model, of derived models and of what they"
    " render, and asks to share prompts and workflows (https://huggingface.co/Laxhar/noobai-XL-1.1).",
    "pony-diffusion-v6-xl": f"{FAIR_AI} Its author forbids to run it, or a derived model, on sites and in programs that"
    " earn money with it (https://civitai.com/models/257749).",
    "cc-by-nc-4.0": "No commercial use.",
    "cc-by-nc-sa-4.0": "No commercial use; what is made of the base is passed on under the same licence.",
    "cc-by-sa-4.0": "What is made of the base is passed on under the same licence.",
}


def terms(licence: str) -> str:
    """What a licence demands of a LoRA, in a sentence or two; nothing where it is not known."""
    return TERMS.get(licence.lower(), "")
