"""``maskrt export``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from maskrt.commands.arguments import batch, names, size
from maskrt.errors import MaskrtError, MissingDependencyError

NAME = "export"
HELP = "a trained model → canonical ONNX"
DESCRIPTION = """\
Writes a trained detector of torchvision or detectron2 as one ONNX file that
takes frames of any size (uint8, BGR) and gives boxes, scores, labels, masks and
keypoints in frame pixels. Any ONNX tool runs the file; 'maskrt run' does it
with pictures. detectron2 itself is not needed.
"""
EPILOG = """\
examples:
  # trained by yourself on a torchvision builder; the classes are read from the file
  maskrt export --model torchvision/maskrcnn_resnet50_fpn --weights mine.pth \\
                --labels cat,dog --canvas 800x1088 -o model.onnx

  # detectron2: the config.yaml beside your weights, or a model of its zoo
  maskrt export --model output/config.yaml --weights output/model_final.pth \\
                --labels cat,dog --canvas 800x1088 -o model.onnx
  maskrt export --model detectron2/mask_rcnn_R_50_FPN_3x --weights model_final_f10217.pkl \\
                --canvas 800x1344 -o model.onnx

  # any function that returns the module (the current folder is importable)
  maskrt export --model my_package.my_module:build --weights mine.pth \\
                --canvas 640x640 -o model.onnx

  # the bundled tiny model
  maskrt export --model maskrt.examples.shapes:mask_rcnn --canvas 192x256 -o tiny.onnx

choosing the canvas: frames are resized to fit in it and padded, so take the
aspect ratio of your camera. For torchvision's defaults (short side 800, long
side 1333, detectron2's as well): 800x1088 for 4:3, 768x1344 for 16:9. Smaller
is faster. Sides are multiples of 32, or of 16 for detectron2's C4 and DC5.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="torchvision/NAME; a .yaml of detectron2's, or detectron2/NAME of its zoo; or "
        "package.module:function (takes nothing, returns the module)",
    )
    parser.add_argument(
        "--weights",
        default="none",
        metavar="FILE|DEFAULT|none",
        help="a state_dict (fp16 is upcast), detectron2's .pth or .pkl; DEFAULT: torchvision's "
        "own, downloaded; none: as the function built it (default)",
    )
    parser.add_argument(
        "--canvas", required=True, type=size, metavar="HxW", help="size of the network's input"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, help="the ONNX file to write")
    parser.add_argument(
        "--batch",
        type=batch,
        default=(1, 1),
        metavar="N|MIN-MAX",
        help="frames per run: fixed, or a range (default: 1)",
    )
    parser.add_argument(
        "--labels",
        type=names,
        metavar="FILE|a,b,c",
        help="class names without the background (default: COCO's for 91 classes, "
        "detectron2's for 80)",
    )
    parser.add_argument(
        "--keypoints",
        type=names,
        metavar="FILE|a,b,c",
        help="keypoint names (default: COCO's for 17 keypoints)",
    )
    parser.add_argument(
        "--resize",
        choices=("model", "fit"),
        default="model",
        help="model: frames are never enlarged beyond the sizes that the model was trained with, "
        "results equal the framework's (default); fit: as large as the canvas allows",
    )
    parser.add_argument(
        "--frame-order", choices=("bgr", "rgb"), default="bgr", help="of the frames (default: bgr)"
    )


def execute(options: argparse.Namespace) -> None:
    """Runs the command."""
    started = time.perf_counter()
    from maskrt.commands.console import Steps, console

    with Steps() as step:
        step("Loading torch")
        try:
            from maskrt.export import export, load_model
        except ModuleNotFoundError as error:
            raise MissingDependencyError(str(error.name), "export") from error
        step("Building the model")
        model = load_model(options.model, options.weights)
        try:
            spec = export(
                model,
                options.output,
                options.canvas,
                batch=options.batch,
                labels=options.labels,
                keypoint_names=options.keypoints,
                resize=options.resize,
                frame_order=options.frame_order,
                name=options.model,
                progress=step,
            )
        except ValueError as error:  # what the user gave does not suit the model
            raise MaskrtError(str(error)) from error
    seconds = time.perf_counter() - started
    megabytes = options.output.stat().st_size / 1e6
    console.print(
        f"{options.output}: {spec.task}, {len(spec.classes)} classes, canvas "
        f"{spec.canvas.height}x{spec.canvas.width}, {megabytes:.1f} MB, in {seconds:.0f} s",
        highlight=False,
    )
    console.print(f"next:  maskrt run {options.output} --source FILE|DIR|CAMERA --save OUT")
