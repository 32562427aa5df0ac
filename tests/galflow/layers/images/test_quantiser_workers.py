"""The codebook under several workers of torch.distributed: one codebook, learnt from all of their vectors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = """
import sys, torch
import torch.distributed as dist
from galflow.layers.images.quantiser import Quantiser
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
if rank < 2:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.manual_seed(0)
quantiser = Quantiser(codes=6, dimensions=2, decay=0.5, revive_below=0.05)
quantiser.train()
data = torch.randn(4, 8, 2, 2, 2, generator=torch.Generator().manual_seed(1))
torch.manual_seed(rank)
learnt = []
for revive_below in (0.0, 0.9):
    quantiser.revive_below = revive_below
    for batch in data:
        mine = batch if rank == 2 else batch[rank::2]
        quantiser(mine.clone().requires_grad_()).vectors.sum().backward()
    learnt.append(quantiser.codebook.clone())
torch.save(learnt, f"{folder}/{rank}.pt")
if rank < 2:
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.mark.full
def test_two_workers_learn_what_one_would(tmp_path: Path) -> None:
    """Each of two workers sees half of every batch; a third, alone, sees them whole."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    started = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)], env=dict(os.environ))
        for rank in range(3)
    ]
    assert [worker.wait(120) for worker in started] == [0, 0, 0]
    first, second, alone = (torch.load(tmp_path / f"{rank}.pt") for rank in range(3))
    assert torch.equal(first[0], second[0])
    torch.testing.assert_close(first[0], alone[0])
    assert torch.equal(first[1], second[1]), "the workers revived codes differently"
    assert not torch.equal(first[1], first[0])
