"""Lint of captions before training: triggers that already have a meaning, words of the user's that would become a
second one, tags that contradict each other, captions that say nothing or are longer than the text encoder reads."""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from charaloom.artifacts.types import PathLike, Row
from charaloom.runtime.hub import hub_file
from charaloom.sources.folders.captions import is_prose
from charaloom.tagging.captions import as_words, tags_in
from charaloom.tagging.merging import OWN
from charaloom.tagging.vocabulary import OTHER, Vocabulary, contradictions, is_count, kind_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer


CLIP = "openai/clip-vit-large-patch14"  # the text encoder of SD 1.x, and the first one of SDXL: one vocabulary
SECOND_TRIGGER_SHARE = 0.5  # of the captions that the user wrote, set by hand
SECOND_TRIGGER_LEAST = 3  # captions, set by hand
LIMIT = 75  # tokens that it reads, besides start and end
# CLIP's pattern of words (openai/CLIP, simple_tokenizer.py), in the syntax of `tokenizers`.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Lint:
    """Checks captions by the boards' vocabulary and the text encoder's tokenizer, both from the hub cache `hub`."""

    def __init__(self, hub: PathLike):
        self.hub, self.vocabulary = Path(hub), Vocabulary(hub)

    def findings(self, outfits: Row, rows: list[Row]) -> list[Row]:
        """Findings {kind, where, what, advice} of triggers, then of captions by view.

        `outfits` is the content of outfits.json, `rows` are those of clustered.parquet.
        """
        triggers = [outfits["trigger"], *(outfit["trigger"] for outfit in outfits["outfits"] if outfit["trained"])]
        findings = [finding for trigger in triggers for finding in self.of_trigger(trigger)]
        lengths = self.lengths([row["caption"] for row in rows])
        for row, length in zip(rows, lengths, strict=True):
            findings += self.of_caption(row["view"], row["caption"], triggers, length)
        return findings

    def of_own_words(self, views: list[Row]) -> list[Row]:
        """A finding for each word that is no board's tag and stands in most of the captions that the user wrote: it
        would become a second trigger. `views` are rows of tagged.parquet."""
        written = [[tag["name"] for tag in view["tags"] if tag["origin"] == OWN] for view in views]
        written = [names for names in written if names]
        counts = Counter(name for names in written for name in names if not is_prose(name.replace("_", " ")))
        return [
            finding(
                "second trigger",
                as_words(name),
                f"it stands in {count} of your {len(written)} captions and is no tag: it would become a second trigger",
                "make it the character's trigger (the roster's column `trigger`), or add it to tagged.blacklist",
            )
            for name, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
            if count >= max(SECOND_TRIGGER_SHARE * len(written), SECOND_TRIGGER_LEAST) and self.is_foreign(name)
        ]

    def is_foreign(self, name: str) -> bool:
        """Whether a word is no general tag of the boards, and neither counts people nor names a trait or clothes."""
        known = name in self.vocabulary.counts or name in self.vocabulary.implications
        return not known and kind_of(name) == OTHER

    def of_trigger(self, trigger: str) -> list[Row]:
        tag, tokens = trigger.lower().replace(" ", "_"), self.tokenizer.encode(trigger).tokens
        if tag in self.vocabulary.counts:
            what = f"the trigger is a tag of {self.vocabulary.counts[tag]} posts"
        elif len(tokens) == 1:
            what = "the trigger is a word that the text encoder knows"
        else:
            return []
        advice = "choose another in the roster's column `trigger`, such as two words joined by an underscore"
        return [finding("common trigger", trigger, what, advice)]

    def of_caption(self, view: str, caption: str, triggers: list[str], length: int) -> list[Row]:
        tags = tags_in(caption, triggers)
        findings = [
            finding("contradiction", view, f"its caption says {' and '.join(rivals)}", "blacklist the wrong one")
            for rivals in contradictions(tags)
        ]
        if all(map(is_count, tags)):
            advice = "lower tagged.thresholds, or take fewer tags into core_add and blacklist"
            findings.append(finding("empty caption", view, "its caption says nothing but the trigger", advice))
        if length > LIMIT:
            what = f"its caption has {length} tokens, {LIMIT} are read"
            findings.append(finding("long caption", view, what, "raise tagged.thresholds or blacklist tags"))
        return findings

    def lengths(self, captions: list[str]) -> list[int]:
        """Number of CLIP tokens of each caption, without start and end."""
        return [len(encoding.ids) for encoding in self.tokenizer.encode_batch(captions)]

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """CLIP's byte-level BPE from vocab.json and merges.txt; importing transformers for it takes seconds."""
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

        files = [str(hub_file(self.hub, CLIP, name)) for name in ("vocab.json", "merges.txt")]
        model = models.BPE.from_file(*files, end_of_word_suffix="</w>", unk_token="<|endoftext|>")
        tokenizer = Tokenizer(model)
        space = normalizers.Replace(Regex(r"\s+"), " ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), space, normalizers.Lowercase()])
        split = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        return tokenizer


def finding(kind: str, where: str, what: str, advice: str) -> Row:
    return {"kind": kind, "where": where, "what": what, "advice": advice}
