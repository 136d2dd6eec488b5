# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_coco_evaluation.py: two gloo ranks score predictions that are spread over them.

Arguments: data folder, folder with the predictions of all images, for the reports.
"""

import json
import sys
from pathlib import Path

import torch
from ldie.data import CocoDataset
from ldie.engine import distributed
from ldie.engine.evaluation import coco_metrics, gather_predictions


def main() -> None:
    dataset, out = CocoDataset(sys.argv[1], "val2017"), Path(sys.argv[2])
    predictions = torch.load(out / "predictions.pt", weights_only=False)
    with distributed.process_group(torch.device("cpu")):
        rank = distributed.rank()
        halves = predictions[rank::2]
        shares = {
            "halves": halves,
            "padded": halves + predictions[:rank],  # as samplers pad nine images for two ranks: the first one twice
            "all on rank 1": predictions * rank,
        }
        report = {}
        for name, share in shares.items():
            gathered = gather_predictions(share, dataset.image_ids)
            ids = [prediction.image_id for prediction in gathered]
            report[name] = {"image_ids": ids, "metrics": coco_metrics(dataset, gathered)}
        try:
            gather_predictions([p for i, p in enumerate(halves) if not (rank == 1 and i in (1, 2))], dataset.image_ids)
        except ValueError as error:
            report["missing"] = str(error)
        (out / f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
