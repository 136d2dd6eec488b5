# SPDX-License-Identifier: Apache-2.0
import torch
from ldie.nn.language import LanguageEncoder, WordEmbedding
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SENTENCES = ([1, 5, 6, 7, 2], [1, 9, 2], [1, 2], [1, 4, 4, 8, 5, 6, 2])


def encoder(layers: int = 2) -> LanguageEncoder:
    torch.manual_seed(0)
    return LanguageEncoder(WordEmbedding(4, 10, 6), 6, 5, layers, 0.3).eval()


def padded(width: int) -> torch.Tensor:
    return torch.tensor([sentence + [0] * (width - len(sentence)) for sentence in SENTENCES])


def packed_reference(network: LanguageEncoder, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """torch's own bidirectional LSTM over packed sentences, with the same weights."""
    layers = len(network.forwards)
    reference = nn.LSTM(6, 5, layers, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for layer in range(layers):
            for suffix, directions in (("", network.forwards), ("_reverse", network.backwards)):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(reference, f"{name}_l{layer}{suffix}").copy_(getattr(directions[layer], f"{name}_l0"))
    lengths = torch.tensor([len(sentence) for sentence in SENTENCES])
    x = pack_padded_sequence(network.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
    outputs, (hidden, _) = reference(x)
    return pad_packed_sequence(outputs, batch_first=True)[0], hidden.unflatten(0, (layers, 2)).movedim(1, 2).flatten(2)


def test_it_is_a_bidirectional_lstm_over_packed_sentences() -> None:
    network, ids = encoder(), padded(7)
    code = network(ids)
    words, hidden = packed_reference(network, ids)
    torch.testing.assert_close(code.words, words)
    torch.testing.assert_close(code.hidden, hidden)
    assert torch.equal(code.mask, ids != 0)


def test_padding_changes_nothing() -> None:
    network = encoder()
    narrow, wide = network(padded(7)), network(padded(12))
    assert torch.equal(narrow.hidden, wide.hidden)
    assert torch.equal(narrow.words, wide.words[:, :7])
    assert not wide.words[:, 7:].any()


def test_words_can_stay_as_they_are_while_special_tokens_learn() -> None:
    embedding = WordEmbedding(4, 3, 2, fixed=True)
    vectors = torch.arange(6.0).view(3, 2)
    embedding.load(vectors)
    assert torch.equal(embedding(torch.tensor([4, 5, 6])), vectors)
    embedding(torch.tensor([0, 1, 4, 6])).sum().backward()
    assert embedding.words.grad is None
    assert torch.equal(embedding.specials.grad, torch.tensor([[1.0, 1], [0, 0], [0, 0]]))
    assert not embedding(torch.tensor([0])).any()
