# SPDX-License-Identifier: Apache-2.0
"""A task without boxes or classes: "two plus three" in, a number out; several questions belong to one image.

Its recipe has what a detector's has not: a step of one optimizer every eight batches, and batches that come again.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from ldie.config import DatasetConfig, ModelConfig, Positive, RunConfig, SolverConfig
from ldie.contract import Model, Recipe, System, Task
from ldie.durations import Steps
from ldie.files import make_folder, write_text
from torch import nn

NUMBERS = ("zero", "one", "two", "three", "four")
QUESTIONS = 3
ACCUMULATE = 8
REPLAY = 4


@dataclass(frozen=True)
class Question:
    image: int
    number: int
    text: str
    answer: float


@dataclass(frozen=True)
class SumsModelConfig(ModelConfig):
    width: int = 6


@dataclass(frozen=True)
class SumsSolver(SolverConfig):
    batch_size: Positive = 4
    max_iter: Steps = 24
    log_step: Steps = 4
    lr: float = 0.05


@dataclass(frozen=True)
class SumsConfig(RunConfig):
    model: SumsModelConfig = field(default_factory=SumsModelConfig)
    solver: SumsSolver = field(default_factory=SumsSolver)
    dataset: DatasetConfig = field(default_factory=lambda: DatasetConfig("sums", "train", "val"))


class SumsTask(Task):
    files = ("answers.txt",)

    def prepare(self, config):
        for split, images in (("train", 8), ("val", 3)):
            generator = torch.Generator().manual_seed(config.seed + images)
            sums = torch.randint(0, len(NUMBERS), (images, QUESTIONS, 2), generator=generator).tolist()
            write_text(self._file(config, split), json.dumps(sums))

    def open(self, config, splits):
        return [
            [
                Question(image, number, f"{NUMBERS[a]} plus {NUMBERS[b]}", float(a + b))
                for image, sums in enumerate(json.loads(self._file(config, split).read_text()))
                for number, (a, b) in enumerate(sums)
            ]
            for split in splits
        ]

    def facts(self, dataset):
        return {"vocabulary": sorted({word for question in dataset for word in question.text.split()})}

    def facts_without_data(self, config):
        return {"vocabulary": [*NUMBERS, "plus"]}

    def key(self, sample):
        return sample.image, sample.number

    def inputs(self, samples):
        return [sample.text for sample in samples]

    def metrics(self, dataset, results, *, detailed=False):
        errors = [abs(results[self.key(question)] - question.answer) for question in dataset]
        return {"sums/error": sum(errors) / len(errors), "sums/exact": sum(e < 0.5 for e in errors) / len(errors)}

    def report(self, folder, dataset, results, model):
        lines = [f"{question.text} = {results[self.key(question)]:.2f}\n" for question in dataset]
        write_text(folder / "answers.txt", "".join(lines))

    def infer(self, model, inputs, batch_size=1):
        with torch.no_grad():
            return model.predict([inputs] if isinstance(inputs, str) else inputs)

    def predict(self, model, inputs, out, *, batch_size=1, min_score=0.0):
        texts = [path.read_text().strip() for path in inputs]
        make_folder(out)
        write_text(out / "answers.json", json.dumps(dict(zip(texts, self.infer(model, texts)))))

    def show(self, config, split, count, out):
        self.prepare(config)
        write_text(
            out / "questions.txt", "\n".join(question.text for question in self.open(config, [split])[0][:count])
        )

    @staticmethod
    def _file(config, split) -> Path:
        return Path(config.output_dir) / "sums" / f"{split}.json"


class SumsModel(Model):
    def __init__(self, config, facts):
        super().__init__()
        self.config, self.facts = config, facts
        self.index = {word: i for i, word in enumerate(facts["vocabulary"])}
        self.words = nn.EmbeddingBag(len(self.index), config.model.width, mode="sum")
        self.head = nn.Linear(config.model.width, 1)

    @classmethod
    def from_config(cls, config, facts):
        return cls(config, facts)

    def encode(self, texts):
        return torch.tensor([[self.index.get(word, 0) for word in text.split()] for text in texts])

    def forward(self, tokens):
        return self.head(self.words(tokens)).squeeze(1)

    def predict(self, inputs):
        return self(self.encode(inputs).to(self.device)).cpu().tolist()


class SumsRecipe(Recipe):
    best_metric = "sums/exact"

    def __init__(self, model, config, runtime):
        super().__init__(model, config, runtime)
        self._optimizers = {
            "words": torch.optim.SGD(model.words.parameters(), 0.1 * config.solver.lr, momentum=0.9),
            "head": torch.optim.Adam(model.head.parameters(), config.solver.lr),
        }
        self.replay = []

    @property
    def optimizers(self):
        return self._optimizers

    def compiled(self):
        return [self.model]

    def transform(self, sample, rng):
        a, plus, b = sample.text.split()
        return (f"{b} {plus} {a}" if rng.random() < 0.5 else sample.text), sample.answer

    def collate(self, items):
        texts, answers = zip(*items)
        return {"tokens": self.model.encode(texts), "answers": torch.tensor(answers)}

    def train_step(self, batch, step):
        words, head = self._optimizers.values()
        self.replay = [*self.replay, batch][-REPLAY:]
        again = self.replay[int(torch.randint(len(self.replay), ()))]
        losses = [(self.model(part["tokens"]) - part["answers"]).square().mean() for part in (batch, again)]
        loss = torch.stack(losses).mean()
        self.runtime.gradients(words, loss / ACCUMULATE, retain_graph=True, accumulate=step % ACCUMULATE > 0)
        self.runtime.update(head, loss)
        if step % ACCUMULATE == ACCUMULATE - 1:
            self.runtime.apply(words)
        return {"loss": loss.detach()}

    def resume_state(self):
        return {"replay": self.replay, "gradients": [p.grad for p in self.model.words.parameters()]}

    def load_resume_state(self, state):
        self.replay = state["replay"]
        for parameter, gradient in zip(self.model.words.parameters(), state["gradients"]):
            parameter.grad = gradient


TASK = SumsTask()
SYSTEM = System("sums", TASK, SumsModel, SumsRecipe, {"tiny": SumsConfig()})
