# SPDX-License-Identifier: Apache-2.0
import json

from ldie.engine import report
from ldie.engine.curves import plot_curves
from ldie.tasks.detection import TASK
from PIL import Image


def test_summary_is_the_headline_of_coco_or_everything():
    metrics = {"bbox/AP": 0.5, "bbox/AP50": 0.75, "bbox/AR1": 0.1}
    assert report.summary(TASK.headline(metrics)) == "bbox/AP 0.500, bbox/AP50 0.750"
    assert report.summary({"actor/sequence_exact": 0.25}) == "actor/sequence_exact 0.250"


def test_curves_group_terms_and_leave_out_gaps(tmp_path, monkeypatch):
    records = [
        {"kind": "train", "step": 5, "seconds": 0.1, "hm_loss:0": 3.0, "hm_loss:1": 4.0, "lr/detector": 0.1},
        {"kind": "train", "step": 10, "seconds": 0.1, "hm_loss:0": 2.0, "hm_loss:1": None, "lr/detector": 0.1},
        {"kind": "eval", "step": 10, "bbox/AP": 0.5, "bbox/AR1": 0.2, "segm/AP": 0.4},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    drawn = {}
    monkeypatch.setattr(report, "plot_curves", lambda curves, path: drawn.update({path.name: curves}))
    report.write_curves(tmp_path, TASK.headline)
    assert drawn == {
        "loss.png": {
            "hm_loss": {"hm_loss:0": [(5, 3.0), (10, 2.0)], "hm_loss:1": [(5, 4.0)]},
            "lr": {"lr/detector": [(5, 0.1), (10, 0.1)]},
        },
        "metrics.png": {"bbox": {"bbox/AP": [(10, 0.5)]}, "segm": {"segm/AP": [(10, 0.4)]}},
    }


def test_curves(tmp_path):
    path = tmp_path / "loss.png"
    plot_curves({"loss": {"a": [(1, 2.0), (2, 1.0)], "b": [(1, 3.0)]}, "lr": {"lr": [(1, 0.1)]}}, path)
    with Image.open(path) as picture:
        assert picture.size == (1000, 340)
        assert len(picture.convert("RGB").getcolors(100000)) > 10
