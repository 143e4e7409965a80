"""The embedding: one new word for one text encoder (SD 1.x) or two (SDXL)."""

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

    What is pooled is the end token. A trained word pushes it back by its vectors, and its own number is the highest:
    transformers, which sees the tokens before that, would pool a place before the end, or the word.
    """

    word: tuple[int, int, int] | None = None  # numbers of the end token and of the word, vectors of the word

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
        if self.word is None:
            return output.text_embeds
        end, word, vectors = self.word
        place = (tokens == end).int().argmax(-1) + (tokens == word).sum(-1) * (vectors - 1)
        place = place.clip(max=tokens.shape[1] - 1)
        return self.text_projection(output.last_hidden_state[torch.arange(len(tokens), device=place.device), place])


def composed_text_encoder(base: str, family: Family, dtype: torch.dtype) -> SDXLTextEncoder:
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
        hook = EmbeddingPTHook.hook(
            {self.word: embedding}, tokenizer, encoder, N_repeats=getattr(tokenizer, "N_repeats", 1)
        )
        hook.requires_grad_(False)
        embedding.requires_grad_(True)
        hook.emb_train.append(embedding)
        if isinstance(encoder, ProjectedTextEncoder):
            encoder.word = (tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(self.word), self.vectors)
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
