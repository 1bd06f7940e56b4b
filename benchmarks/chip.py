"""A model's training step: its time, tokens a second, and the share of the chip's peak that it reaches.

    python -m benchmarks.chip [--shape demo|100m|400m|1b] [--method relearn_robust] [--steps 6] [--device cuda] [--json]

A model of the shape with random weights (speed does not depend on them) unlearns one person of a corpus of twelve
with the trainer as it is: its reference, its rehearsed leaks, its optimizer. The same steps run twice: once with every
matrix product counted (``torch.utils.flop_counter``), which warms up too, then timed. So the arithmetic is all that
was done, the base's forward passes for the reference with it, and not a formula's.

The *peak* is what a plain product of two large matrices reaches on the same device, in the type that the trainer
computes in, just before. ``--peak-tflops`` gives a data sheet's figure, which is higher; its share is printed beside.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine
from benchmarks.training import job
from pipelines.base.settings import BaseSettings
from pipelines.unlearn.registry import methods
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import unlearn

SHAPES = {
    "demo": BaseSettings(),
    "100m": BaseSettings(hidden=768, layers=12, heads=12, intermediate=2304),
    "400m": BaseSettings(hidden=1024, layers=28, heads=16, intermediate=3584),
    "1b": BaseSettings(hidden=2048, layers=18, heads=32, intermediate=7168),
}


def peak(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Arithmetic operations a second of a product of two square matrices, the best of some."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    left @ right
    best = float("inf")
    for _ in range(5):
        _wait(device)
        began = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(args: argparse.Namespace, home: Path) -> dict[str, Any]:
    loaded, rows, secrets = job(home, SHAPES[args.shape], device=args.device)
    dtype = torch.bfloat16  # the trainer's autocast
    reached = peak(loaded.device, dtype, args.size or (8192 if loaded.device.type == "cuda" else 2048))
    settings = UnlearnSettings(
        method=args.method, min_steps=1, max_steps=args.steps, batch_tokens=args.batch_tokens, cancel_every=10**6
    )
    with FlopCounterMode(display=False) as counter:
        unlearn(loaded, rows, secrets, settings, out_dir=home / "counted")
    run = unlearn(loaded, rows, secrets, settings, out_dir=home / "timed")
    done = counter.get_total_flops() / run.seconds
    return {
        "parameters": sum(weight.numel() for weight in loaded.model.parameters()),
        "method": args.method,
        "steps": run.steps,
        "batch_tokens": args.batch_tokens,
        "step_seconds": round(run.seconds / run.steps, 4),
        "useful_tokens_per_second": run.tokens_per_second,
        "tflops": round(done / 1e12, 4),
        "peak_tflops": round(reached / 1e12, 4),
        "share_of_peak": round(done / reached, 4),
        "share_of_data_sheet": round(done / 1e12 / args.peak_tflops, 4) if args.peak_tflops else None,
        "device": torch.cuda.get_device_name(loaded.device) if loaded.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "machine": machine.describe(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="demo")
    parser.add_argument("--method", choices=methods(), default="relearn_robust")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch-tokens", type=int, default=1024, help="padded tokens of one forward pass")
    parser.add_argument("--device", help="default: the GPU where there is one")
    parser.add_argument("--size", type=int, help="of the matrices whose product is the peak")
    parser.add_argument("--peak-tflops", type=float, help="the data sheet's figure for bf16, without sparsity")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    if args.json:
        print(json.dumps(found))
        return
    print(machine.in_words(found["machine"]))
    size = found["parameters"] / 1e6
    print(f"{size:,.1f} M weights, {found['method']}, {found['device']}, {found['threads']} threads")
    print(f"{found['step_seconds']:.3f} s a step, {found['useful_tokens_per_second']:,.0f} useful tokens/s")
    print(
        f"{found['tflops']:.3f} TFLOP/s: {found['share_of_peak']:.1%} of the {found['peak_tflops']:.3f} "
        "that a plain product of matrices reaches here"
    )
    if args.peak_tflops:
        print(f"{found['share_of_data_sheet']:.1%} of the {args.peak_tflops:g} of the data sheet")


if __name__ == "__main__":
    main()
