# Written by `python -m ldie_ext._stub`.
from ldie_ext.ops.adversarial.box_class_masks import box_class_masks as box_class_masks
from ldie_ext.ops.adversarial.masked_scale_loss import masked_scale_loss as masked_scale_loss
from ldie_ext.ops.adversarial.masked_scale_loss import materialize_masked_scores as materialize_masked_scores
from ldie_ext.ops.boxes.box_coder import decode_boxes as decode_boxes
from ldie_ext.ops.boxes.box_coder import encode_boxes as encode_boxes
from ldie_ext.ops.boxes.grid_anchors import grid_anchors as grid_anchors
from ldie_ext.ops.boxes.match_boxes import match_boxes as match_boxes
from ldie_ext.ops.boxes.sample_labels import sample_labels as sample_labels
from ldie_ext.ops.conv.deform_conv2d import deform_conv2d as deform_conv2d
from ldie_ext.ops.heatmap.center_heatmap import center_heatmap as center_heatmap
from ldie_ext.ops.heatmap.center_targets import CenterTargets as CenterTargets
from ldie_ext.ops.heatmap.center_targets import center_targets as center_targets
from ldie_ext.ops.heatmap.gather_l1_loss import gather_l1_loss as gather_l1_loss
from ldie_ext.ops.heatmap.heatmap_peaks import heatmap_peaks as heatmap_peaks
from ldie_ext.ops.losses.center_focal_loss import center_focal_loss as center_focal_loss
from ldie_ext.ops.losses.center_focal_loss_from_boxes import center_focal_loss_from_boxes as center_focal_loss_from_boxes
from ldie_ext.ops.losses.dice_loss import dice_loss as dice_loss
from ldie_ext.ops.losses.sigmoid_focal_loss import sigmoid_focal_loss as sigmoid_focal_loss
from ldie_ext.ops.masks.polygons import Polygons as Polygons
from ldie_ext.ops.masks.rle import RLE as RLE
from ldie_ext.ops.roi.multiscale_roi_align import multiscale_roi_align as multiscale_roi_align
from ldie_ext.ops.roi.roi_align import roi_align as roi_align
from ldie_ext.ops.suppression.batched_nms import batched_nms as batched_nms
from ldie_ext.ops.suppression.nms import nms as nms
from ldie_ext.ops.suppression.nms_padded import nms_padded as nms_padded

__version__: str
