# SPDX-License-Identifier: Apache-2.0
"""How models read requests and see pictures: their encoders' configuration, words and previews as tensors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ldie.config import Count, Positive
from ldie.errors import ConfigError
from ldie.nn.image_code import ImageEncoder
from ldie.nn.language import PAD, LanguageEncoder, WordEmbedding
from ldie.tasks.editing.sample import EditInput
from ldie.tasks.editing.words.glove import read_glove
from ldie.tasks.editing.words.vocabulary import END, SPECIAL, START, Vocabulary

logger = logging.getLogger("ldie")


@dataclass(frozen=True)
class LanguageConfig:
    """How a request is read."""

    embedding: Positive = 300
    """Width of a word's vector."""
    hidden: Positive = 256
    """Of the LSTM in each direction."""
    layers: Positive = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    max_words: Positive = 15
    """Longer requests are cut, which is logged."""
    glove: str = ""
    """File of word vectors as wide as ``embedding`` to start from; words that it does not have start at random."""
    fix_embedding: bool = False
    """Words keep the vectors they start with; special tokens learn."""
    enabled: bool = True
    """False: every request is read as an empty one, to see what is due to language."""


@dataclass(frozen=True)
class ImageConfig:
    """How a picture is seen."""

    size: Positive = 128
    """Height and width of the preview on which edits are decided, whatever the picture's aspect."""
    widths: tuple[Positive, ...] = (64, 128, 256, 512)
    """Channels of the stages, each of which halves the map."""
    blocks: Count = 2
    """Residual blocks of a stage, behind a stem that halves; 0: one convolution makes a stage, without a stem."""
    code: Positive = 512
    """Width of the vector that a picture becomes."""
    enabled: bool = True
    """False: pictures are not looked at, to see what is due to them."""


def check_senses(language: LanguageConfig, image: ImageConfig) -> None:
    """Raises a ConfigError for a model that neither reads nor sees, or cannot see so."""
    if not image.enabled:
        if not language.enabled:
            raise ConfigError("one of model.image.enabled and model.language.enabled must be true")
        return
    if not image.widths:
        raise ConfigError("model.image.widths must have the channels of at least one stage, got none")
    least = 2 ** (len(image.widths) + (image.blocks > 0))
    if image.size < least:
        raise ConfigError(f"model.image.size must be at least {least} for {len(image.widths)} stages, got {image.size}")


def check_batch(size: int, model: nn.Module) -> None:
    """Raises a ConfigError where a batch of one is to be normalised: a single vector has no variance to learn from."""
    if size == 1 and any(isinstance(layer, nn.BatchNorm1d) for layer in model.modules()):
        raise ConfigError("solver.batch_size must be at least 2 for the batch normalisation of this model, got 1")


def language_encoder(config: LanguageConfig, vocabulary: Vocabulary) -> LanguageEncoder:
    """The network that reads requests, with fresh weights."""
    embedding = WordEmbedding(SPECIAL, len(vocabulary.words), config.embedding, config.fix_embedding)
    return LanguageEncoder(embedding, config.embedding, config.hidden, config.layers, config.dropout)


def image_encoder(config: ImageConfig) -> ImageEncoder | None:
    """The network that sees pictures, with fresh weights; None where they are not looked at."""
    return ImageEncoder(config.widths, config.blocks, config.code) if config.enabled else None


def heard(words: Tensor, config: LanguageConfig) -> Tensor:
    """Requests int64 [B, W] as a model is told them: empty ones where it does not read."""
    return words if config.enabled else words.new_tensor([START, END]).expand(len(words), 2)


def shown(images: Tensor, regions: Tensor | None) -> Tensor:
    """Where to look at pictures [B, 3, H, W], given regions bool [B, H, W]: 0 or 1 [B, 1, H, W], as the pictures."""
    return images.new_ones(len(images), 1, *images.shape[2:]) if regions is None else regions[:, None].to(images)


def load_word_vectors(encoder: LanguageEncoder, config: LanguageConfig, vocabulary: Vocabulary) -> None:
    """Starts the words from the vectors in the file that the configuration names, if it names one.

    Raises:
        DataError: It cannot be read; see :func:`ldie.tasks.editing.words.glove.read_glove`.
        ConfigError: They are of another width.
    """
    if not config.glove:
        return
    vectors, known = read_glove(Path(config.glove), vocabulary.words)
    if vectors.shape[1] != config.embedding:
        raise ConfigError(
            f"model.language.embedding must be {vectors.shape[1]}, as wide as the vectors of {config.glove}, "
            f"got {config.embedding}"
        )
    logger.info("%s: vectors of %d of %d words", config.glove, int(known.sum()), len(known))
    encoder.embedding.load(vectors)


def padded(sentences: Sequence[Tensor]) -> Tensor:
    """Numbers of words int64 [B, W], W of the longest sentence."""
    return nn.utils.rnn.pad_sequence(list(sentences), batch_first=True, padding_value=PAD)


def stacked_regions(regions: Sequence[Tensor | None], size: Sequence[int]) -> Tensor | None:
    """Bool [B, H, W], all true where there is none; None where no request has one."""
    if all(region is None for region in regions):
        return None
    return torch.stack([torch.ones(*size, dtype=torch.bool) if region is None else region for region in regions])


def preview(image: Tensor, size: int) -> Tensor:
    """A picture uint8 [3, H, W] at ``size`` x ``size``, its aspect ignored."""
    if image.shape[1:] == (size, size):
        return image
    small = nn.functional.interpolate(
        image[None].float(), (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return small[0].round().clamp(0, 255).to(torch.uint8)


def small_region(region: Tensor | None, size: int) -> Tensor | None:
    """A region bool [H, W] at ``size`` x ``size``; a cell is in it where any of its pixels is, so none vanishes."""
    if region is None or region.shape == (size, size):
        return region
    return nn.functional.adaptive_max_pool2d(region[None].float(), (size, size))[0] > 0


def previews(inputs: Sequence[EditInput], size: int) -> tuple[Tensor, Tensor | None]:
    """Pictures uint8 [B, 3, size, size], and their regions bool [B, size, size] where any has one."""
    regions = [small_region(item.region, size) for item in inputs]
    return torch.stack([preview(item.image, size) for item in inputs]), stacked_regions(regions, (size, size))
