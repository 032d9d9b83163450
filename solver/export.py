"""Weights as files that other programs compute: ``python solver/export.py --ckpt_path x2/lesrcnn_x2.pth --to onnx``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import model
from dataset.errors import Parser, run
from solver.arguments import positive


def parser() -> Parser:
    parser = Parser(
        "Write weights as a file that other programs compute, compared with PyTorch before it gets its name."
    )
    add = parser.add_argument
    add("--ckpt_path", type=Path, default="x2/lesrcnn_x2.pth", help="the weights")
    what = (
        "onnx: one file; openvino: an XML and a BIN beside it; int8: ONNX of 8 bits; coreml: a package for apps of iOS "
        "and macOS; ncnn: a PARAM and a BIN beside it; safetensors: the weights alone"
    )
    forms = ("onnx", "openvino", "int8", "coreml", "ncnn", "safetensors")
    add("--to", choices=forms, default="onnx", help=what)
    add("--calibrate", type=Path, help="int8: folder of training pictures that its ranges are measured on")
    add("--scale", type=positive, help="of blind weights; by default a file for each of their scales")
    add("--model", choices=model.names(), help="network; most weights say which they are of")
    what = (
        "fp16: the layers that do not face the picture compute in it where the program does; of coreml all do, and of "
        "ncnn the weights are stored in it"
    )
    add("--precision", choices=("fp32", "fp16"), default="fp32", help=what)
    add("--out", type=Path, help="by default beside the weights, as x2/lesrcnn_x2.onnx")
    return parser


def main() -> None:
    args = parser().parse_args()
    from solver.exporting import export

    export.main(args)


if __name__ == "__main__":
    run(main)
