"""The embedding: one new word for one text encoder (SD 1.x) or two (SDXL)."""

from collections.abc import Iterator
from typing import Any

import torch
from hcpdiff.ckpt_manager import EmbFormat
from hcpdiff.models.compose import ComposeTextEncoder, SDXLTextEncoder
from hcpdiff.models.text_emb_ex import EmbeddingPTHook
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection
from transformers.modeling_outputs import BaseModelOutputWithPooling

from charaloom.artifacts.files import read_json
from charaloom.artifacts.seeds import derive_seed
from charaloom.config.families import EMBEDDING_KEY, FAMILIES, Family
from charaloom.tagging.captions import SEPARATOR

# Share of the token table's standard deviation; set by hand: far enough apart that vectors learn different things.
NOISE_AROUND_CORE = 0.5


class ProjectedTextEncoder(CLIPTextModelWithProjection):
    """SDXL's second text encoder with the output that hcpdiff expects; hcpdiff's own fails with transformers 5.

    What is pooled is the end token. transformers pools the highest number, which is that of a trained word.
    """

    end: int | None = None  # number of the end token, where a word is trained

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None, **other: Any
    ) -> BaseModelOutputWithPooling:
        output = super().forward(
            input_ids, attention_mask=attention_mask, position_ids=position_ids, output_hidden_states=True
        )
        return BaseModelOutputWithPooling(
            last_hidden_state=output.last_hidden_state,
            pooler_output=self.pooled(input_ids, output),
            hidden_states=output.hidden_states,
        )

    def pooled(self, tokens: Tensor, output: Any) -> Tensor:
        """The projected end token, [batch, width]."""
        if self.end is None:
            return output.text_embeds
        place = (tokens == self.end).int().argmax(-1)
        return self.text_projection(output.last_hidden_state[torch.arange(len(tokens), device=place.device), place])


class WordHook(EmbeddingPTHook):
    """Puts the vectors of the trained word, [vectors, width], in their places: token `first` + k stands for vector k.

    The stock hook makes room for them itself, by cutting the end of the text off, and its end token with it.
    """

    def __init__(self, table: nn.Embedding, vectors: nn.Parameter, first: int):
        super().__init__(table, N_repeats=1)
        self.first = first
        self.emb_train.append(vectors)

    def pre_hook(self, host: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        self.input_ids = inputs[0]
        return self.input_ids.clip(0, self.num_embeddings - 1)

    def forward(self, embedded: Tensor, *_: Any, **__: Any) -> Tensor:
        """`embedded` is [rows, places, width], with something in the places of the word."""
        rows = zip(embedded, (self.input_ids - self.first).tolist(), strict=True)
        return torch.stack([self.with_word(*row) for row in rows])

    def with_word(self, row: Tensor, numbers: list[int]) -> Tensor:
        parts, done, vectors = [], 0, self.emb_train[0].to(dtype=row.dtype)
        for begin, end in runs(numbers):
            parts += [row[done:begin], vectors[numbers[begin] : numbers[end - 1] + 1]]
            done = end
        return torch.cat([*parts, row[done:]])


def runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Where numbers that are not negative count up by one: begin and end of each run."""
    begin = None
    for place, number in enumerate([*numbers, -1]):
        if begin is not None and number != numbers[place - 1] + 1:
            yield begin, place
            begin = None
        if begin is None and number >= 0:
            begin = place


def composed_text_encoder(base: str, family: Family, dtype: torch.dtype = torch.float32) -> SDXLTextEncoder:
    """The text encoders of a diffusers folder, under hcpdiff's names."""
    encoders = {}
    for part in family.text_encoders:
        kind = ProjectedTextEncoder if part.projected else CLIPTextModel
        encoders[part.trainer_name] = kind.from_pretrained(base, subfolder=part.encoder, torch_dtype=dtype)
    return SDXLTextEncoder(encoders)


class EmbeddingParser:
    """Trains one new word of `vectors` vectors, without weight decay.

    It starts as noise around the mean embedding of the tokens of the core tags (`core`: a JSON list), around zero where
    there are none. `seed` decides the noise.
    """

    def __init__(self, word: str, vectors: int, rate: float, core: str, seed: int):
        self.word, self.vectors, self.rate, self.core, self.seed = word, vectors, rate, core, seed

    def get_params_group(self, model: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The optimizer's group, and by word what is saved: a parameter, or for SDXL one by the encoder's key."""
        words = {key: self.hooked(*pair) for key, pair in text_encoders(model).items()}
        group = {"params": list(words.values()), "lr": self.rate, "weight_decay": 0.0}
        return [group], {self.word: words.get(EMBEDDING_KEY, words)}

    def hooked(self, tokenizer: Any, encoder: nn.Module) -> nn.Parameter:
        start = self.start(tokenizer, encoder.get_input_embeddings().weight.detach().float())
        embedding = nn.Parameter(start, requires_grad=False)
        tokenizer.add_tokens([self.word])
        hook = WordHook(encoder.get_input_embeddings(), embedding, tokenizer.convert_tokens_to_ids(self.word))
        hook.requires_grad_(False)
        embedding.requires_grad_(True)
        if isinstance(encoder, ProjectedTextEncoder):
            encoder.end = tokenizer.eos_token_id
        return embedding

    def start(self, tokenizer: Any, table: Tensor) -> Tensor:
        """First value, [vectors, width]; `table` is the embedding table [tokens, width]."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.word, "embedding"))
        noise = torch.randn(self.vectors, table.shape[1], generator=generator).to(table)
        tokens = sorted(set(tokenizer(SEPARATOR.join(read_json(self.core)), truncation=True).input_ids[1:-1]))
        centre = table[tokens].mean(0) if tokens else torch.zeros_like(table[0])
        return centre + noise * table.std() * NOISE_AROUND_CORE


def text_encoders(model: Any) -> dict[str, tuple[Any, nn.Module]]:
    """Tokenizer and text encoder by the key that an embedding has in its file."""
    if not isinstance(model.TE, ComposeTextEncoder):
        return {EMBEDDING_KEY: (model.tokenizer, model.TE)}
    keys = {part.trainer_name: part.embedding_key for family in FAMILIES.values() for part in family.text_encoders}
    return {keys[name]: (getattr(model.tokenizer, name), getattr(model.TE, name)) for name in model.TE.model_names}


class EmbeddingFormat(EmbFormat):
    """The embedding as safetensors: one tensor, or one for each text encoder."""

    EXT = "safetensors"

    def save_ckpt(self, sd_model: tuple[str, Any], save_f: str) -> None:
        values = sd_model[1] if isinstance(sd_model[1], dict) else {EMBEDDING_KEY: sd_model[1]}
        save_file({key: value.detach().cpu().contiguous() for key, value in values.items()}, save_f)
