# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_coco_evaluation.py: two gloo ranks score predictions that are spread over them.

Arguments: data folder, folder with the predictions of all images, for the reports.
"""

import json
import sys
from pathlib import Path

import torch
from ldie.engine import distributed
from ldie.engine.evaluation import gather_results
from ldie.tasks.detection import CocoDataset
from ldie.tasks.detection.metrics import coco_metrics


def main() -> None:
    dataset, out = CocoDataset(sys.argv[1], "val2017"), Path(sys.argv[2])
    predictions = dict(enumerate(torch.load(out / "predictions.pt", weights_only=False).items()))
    with distributed.process_group(torch.device("cpu")):
        rank = distributed.rank()
        halves = {i: predictions[i] for i in range(rank, len(predictions), 2)}
        shares = {
            "halves": halves,
            "padded": halves | {i: predictions[i] for i in range(rank)},  # as samplers pad nine for two ranks
            "all on rank 1": predictions if rank == 1 else {},
        }
        report = {}
        for name, share in shares.items():
            gathered = gather_results(share, len(dataset))
            report[name] = {"image_ids": list(gathered), "metrics": coco_metrics(dataset, gathered)}
        try:
            gather_results({i: pair for i, pair in halves.items() if i not in (3, 5)}, len(dataset))
        except ValueError as error:
            report["missing"] = str(error)
        (out / f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
