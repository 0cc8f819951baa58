"""A training on several processes whose learning rate and dropout are turned from another shell, without a server.

    torchrun --nproc_per_node=2 examples/ddp_train.py

and then, while it runs:

    runtimectl -q /tmp/runtimectl-ddp optimizer.lr.multiplier 0.5
    runtimectl -q /tmp/runtimectl-ddp model.dropout.p 0.2
    runtimectl -q /tmp/runtimectl-ddp save_ckpt --kwargs '{"label": "manual"}'
    runtimectl -q /tmp/runtimectl-ddp stop
    runtimectl -q /tmp/runtimectl-ddp status

DDP_SECONDS (2) is how long it runs at most, RUNTIMECTL_DIR where the commands arrive, and checkpoints go.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rundial.control import RuntimeController

QUEUE = os.environ.get("RUNTIMECTL_DIR", "/tmp/runtimectl-ddp")
SECONDS = float(os.environ.get("DDP_SECONDS", "2"))


def validate_mult(value: Any) -> float:
    mult = float(value)
    if mult <= 0:
        raise ValueError("multiplier must be > 0")
    return mult


def apply_lr_multiplier(ctx: dict[str, Any], mult: float) -> None:
    for group in ctx["optimizer"].param_groups:
        group["lr"] *= mult


def validate_p(value: Any) -> float:
    if not 0 <= float(value) < 1:
        raise ValueError("dropout must be in [0, 1)")
    return float(value)


def apply_dropout(ctx: dict[str, Any], p: float) -> None:
    for module in ctx["model"].modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = p


def save_checkpoint(ctx: dict[str, Any], label: str = "latest") -> None:
    if dist.get_rank() == 0:
        torch.save(ctx["model"].state_dict(), Path(QUEUE) / f"{label}.pt")


def stop(ctx: dict[str, Any]) -> None:
    ctx["going"] = False


def main() -> None:
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")  # alone, without torchrun
    for name, value in {"MASTER_PORT": "0", "RANK": "0", "WORLD_SIZE": "1"}.items():
        os.environ.setdefault(name, value)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 1))
    trained = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    control = RuntimeController(ddp=True)
    control.register("optimizer.lr.multiplier", apply_lr_multiplier, validate_mult)
    control.register("model.dropout.p", apply_dropout, validate_p)
    control.register("save_ckpt", save_checkpoint)
    control.register("stop", stop)
    control.configure(QUEUE)
    if rank == 0:
        print("polling", QUEUE, flush=True)

    begin = time.monotonic()
    ctx = {"optimizer": optimizer, "model": model, "going": True}
    while ctx["going"]:
        x = torch.randn(16, 8)
        optimizer.zero_grad()
        ((trained(x) - x.sum(1, keepdim=True)) ** 2).mean().backward()
        optimizer.step()
        for ack in control.poll_and_apply(ctx=ctx, every_s=0.2):
            if rank == 0:
                print(ack["path"], ack["status"], ack.get("error", ""), ack.get("ranks"), flush=True)
        time.sleep(0.01)
        # Clocks differ, and all ranks must end at the same step.
        left = torch.tensor(float(time.monotonic() - begin < SECONDS))
        dist.broadcast(left, src=0)
        ctx["going"] = ctx["going"] and bool(left)
    dropout = next(module.p for module in model.modules() if isinstance(module, torch.nn.Dropout))
    # One write for a whole line: torchrun's processes are unbuffered, and their lines would run into each other.
    sys.stdout.write(f"rank {rank}: lr {optimizer.param_groups[0]['lr']:g}, dropout {dropout:g}\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
