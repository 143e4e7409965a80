"""The demo models' vocabulary: CLIP's byte-pair files in which every word of the world's tags is one token."""

import json
from pathlib import Path

from charaloom.demo.world import cast

OTHER_WORDS = [
    "1girl",
    "1boy",
    "2girls",
    "3girls",
    "multiple",
    "girls",
    "solo",
    "portrait",
    "upper",
    "body",
    "cowboy",
    "shot",
    "full",
    "body",
    "looking",
    "at",
    "viewer",
    "away",
    "blush",
    "monochrome",
    "greyscale",
    "comic",
    "cosplay",
    "text",
    "best",
    "quality",
    "masterpiece",
    "lowres",
    "bad",
    "anatomy",
    "hands",
    "nsfw",
    "nude",
    "worst",
    "watermark",
    "standing",
    "ahoge",
    "dark",
    "skin",
    "hair",
    "eyes",
    "charaloom",
    "signature",
    "collar",
    "skirt",
    "shirt",
    "style",
    "general",
    "sensitive",
    "anime",
    "illustration",
    "simple",
]


def world_tags() -> list[str]:
    """Every tag that the world's pictures may carry."""
    tags: set[str] = {"ahoge", "dark_skin"}
    tags |= {f"{colour}_hair" for colour in cast.HAIR_COLOURS} | {f"{colour}_eyes" for colour in cast.EYE_COLOURS}
    tags |= {*cast.HAIR_STYLES, *cast.BANGS, *cast.ACCESSORIES, *cast.FRAMINGS, *cast.POSES, *cast.EXPRESSIONS}
    tags |= {
        f"{c}_{a}" for a in cast.COLOURED_ACCESSORIES for c in ("red", "blue", "yellow", "pink", "white", "purple")
    }
    for group in (cast.BACKGROUND_TAGS, cast.STYLE_TAGS, cast.GARMENT_TAGS):
        tags |= {tag for several in group.values() for tag in several}
    nouns = {cast.GARMENT_NOUN.get(garment, garment) for garment in cast.GARMENTS}
    tags |= {f"{colour}_{noun}" for colour in cast.CLOTH_COLOURS for noun in nouns}
    tags |= set(cast.GARMENT_HEADWEAR.values()) | {"looking_at_viewer", "looking_away", "blush", "1girl", "solo"}
    return sorted(tags)


def vocabulary() -> list[str]:
    """Words of the tags, in a total order."""
    words = {word for tag in world_tags() for word in tag.replace("(", "_").replace(")", "_").split("_") if word}
    return sorted(words | set(OTHER_WORDS))


def write_tokenizer(folder: Path) -> None:
    """Write a CLIP tokenizer (vocab.json, merges.txt and configs) that knows the vocabulary and falls back to bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=20000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(vocabulary() * 2, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: k for k, token in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(folder)


def byte_letters() -> list[str]:
    """The 256 printable letters that stand for bytes in CLIP's and GPT-2's vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + k) for k in range(len(others))]
