"""Two processes that train together, over gloo, beside one that trains alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from galflow.batch import Batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import ModelError
from galflow.models.base import build_model
from galflow.training.meeting import listening_at, meet, own_address
from galflow.training.players import trainable_parameters
from galflow.training.ranks import SINGLE_PROCESS, Ranks, joined_ranks

TRAIN = """
import sys, time, contextlib, torch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.stream import TrainingSet
from galflow.models.base import build_model
from galflow.photometry import AsinhStretch
from galflow.spec.run import TrainingSpec
from galflow.storage.store import Store
from galflow.training.checkpoint import Checkpoint
from galflow.training.fit import fit
from galflow.training.ranks import SINGLE_PROCESS, joined_ranks
root, rank, world, address, name, epochs, pause, out = sys.argv[1:]
torch.set_num_threads(1)
store = Store.open(root)
data = TrainingSet(
    [CutoutSet(store, f"cutouts/toy/1/{t}/0.zarr") for t in "ab"],
    AsinhStretch(3.0, 100.0, (1.0, 1.0)), validation=0.2, reference=0.1,
)
torch.manual_seed(5)
model = build_model(name, channels=2, size=8)
spec = TrainingSpec(epochs=int(epochs), batch_size=32, checkpoint_seconds=0.05)
device = torch.device("cpu")
alone = world == "1"
meeting = contextlib.nullcontext(SINGLE_PROCESS) if alone else joined_ranks(
    int(rank), int(world), address, device=device, timeout_seconds=30
)
def progress(at):
    print(at.epoch, at.rounds, flush=True)
    time.sleep(float(pause))
checkpoint = Checkpoint(store, "models/m/f", "f", every_seconds=0.05) if float(pause) else None
with meeting as ranks:
    fitted = fit(model, data, spec, seed=3, checkpoint=checkpoint, progress=progress, ranks=ranks)
torch.save({"model": model.state_dict(), "losses": [(p.train_loss, p.validation_loss) for p in fitted.curves]}, out)
"""


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def start(tmp_path: Path, write_set: Callable[..., CutoutSet]) -> Callable[..., list[subprocess.Popen[str]]]:
    """``start(world, model, epochs, pause=0)``: the processes of one training; rank r leaves out-WORLD-r.pt."""
    for seed, tile in enumerate("ab"):
        write_set(tile, 120, seed=seed)

    def run(world: int, model: str, epochs: int, pause: float = 0.0) -> list[subprocess.Popen[str]]:
        address = free_address()
        return [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", TRAIN, str(tmp_path / "store"), str(rank), str(world), address,
                 model, str(epochs), str(pause), str(tmp_path / f"out-{world}-{rank}.pt")],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            for rank in range(world)
        ]  # fmt: skip

    return run


def finished(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


@pytest.mark.full
@pytest.mark.parametrize("name", ["autoencoder.Autoencoder", "wgan.WGAN"])
def test_two_processes_make_the_steps_of_one(
    name: str, start: Callable[..., list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    """The same steps in the same order, with the same symmetries and the same random numbers inside the losses."""
    epochs = 1 if name == "wgan.WGAN" else 4
    finished(start(1, name, epochs))
    finished(start(2, name, epochs))
    alone, first, second = (torch.load(tmp_path / f"out-{n}.pt") for n in ("1-0", "2-0", "2-1"))
    # The mixture is fitted to latents afterwards, until it no longer gains: that magnifies the last digits.
    weights = {key: value for key, value in alone["model"].items() if not key.startswith("mixture")}
    assert len(weights) == len(alone["model"]) - 3 * (name == "autoencoder.Autoencoder")
    for key, expected in weights.items():
        torch.testing.assert_close(first["model"][key], expected, rtol=0, atol=1e-4, msg=key)
        assert torch.equal(first["model"][key], second["model"][key]), f"{key} differs between ranks"
    torch.testing.assert_close(torch.tensor(first["losses"]), torch.tensor(alone["losses"]), rtol=1e-4, atol=1e-5)


@pytest.mark.full
def test_a_killed_rank_ends_the_others_in_seconds_and_the_training_goes_on_from_its_checkpoint(
    start: Callable[..., list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    processes = start(2, "vae.VAE", 3, pause=0.3)
    assert processes[0].stdout is not None
    for line in processes[0].stdout:
        if line.split() == ["2", "2"]:
            break
    processes[1].send_signal(signal.SIGKILL)
    since = time.monotonic()
    _, errors = processes[0].communicate(timeout=60)
    assert processes[0].returncode != 0
    assert time.monotonic() - since < 15
    assert "Connection" in errors or "connection" in errors
    processes[1].communicate()
    again = start(2, "vae.VAE", 3, pause=0.001)
    told = again[0].communicate(timeout=120)[0].split("\n")
    finished(again)
    assert told[0].split()[0] == "2", "it took up the checkpoint within the second epoch"
    first, second = (torch.load(tmp_path / f"out-2-{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())


def test_shares_make_up_the_batch() -> None:
    batch = Batch.of(torch.arange(7.0).view(7, 1, 1, 1))
    for world in (1, 2, 3, 9):
        shares = [Ranks(rank, world).share(batch) for rank in range(world)]
        assert torch.equal(torch.cat([share.pixels for share in shares]), batch.pixels)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert SINGLE_PROCESS.share(batch) is batch


def test_a_rank_that_nobody_meets_says_so() -> None:
    with (
        pytest.raises(
            ModelError, match=r"rank 1 of 2 on host \S+ could not reach rank 0 at tcp://127.0.0.1:\d+ within 1 s"
        ),
        joined_ranks(1, 2, free_address(), device=torch.device("cpu"), timeout_seconds=1),
    ):
        raise AssertionError("met somebody")


def test_a_rank_whose_partner_does_not_come_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"rank 0 of 3 on host \S+ waited 0.3 s at \S+, and rank 1, 2 did not come"):
        meet(0, 3, f"file://{tmp_path}/meet", 0.3)


def test_a_rank_that_is_told_to_leave_waits_no_longer(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ModelError, match="did not come"):
        meet(0, 2, f"file://{tmp_path}/meet", 100.0, lambda: time.monotonic() > started + 0.2)
    assert time.monotonic() < started + 10


def test_an_address_is_that_of_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib7")
    address, interface = own_address("localhost") or ("", "")
    assert address in ("127.0.0.1", "::1")
    with listening_at(address):
        assert os.environ["GLOO_SOCKET_IFNAME"] == interface
        assert os.environ["NCCL_SOCKET_IFNAME"] == "ib7", "what the operator set stays"
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    assert own_address("192.0.2.7") is None
    assert own_address("no-such-host.invalid") is None


@pytest.mark.parametrize("name", ["vae.VAE", "wgan.WGAN"])
def test_the_shares_draw_what_the_whole_batch_draws(name: str) -> None:
    """The ranks' weighted losses and gradients add up to those of one process, with draws inside the loss."""
    torch.manual_seed(5)
    model = build_model(name, channels=2, size=8).train()
    batch = Batch.of(torch.rand(7, 2, 8, 8))
    model.initialise(batch)
    player = model.players[0].name
    parameters = trainable_parameters(model, model.players[0])

    def step(rank: int, world: int) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        torch.manual_seed(11)
        with Ranks(rank, world).draws(batch, "here"):
            share = Ranks(rank, world).share(batch)
            loss = model.loss(share, player) * len(share) / len(batch)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        found = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
        return loss.detach(), found, torch.rand(1)

    loss, gradients, after = step(0, 1)
    shares = [step(rank, 3) for rank in range(3)]
    torch.testing.assert_close(torch.stack([s[0] for s in shares]).sum(), loss, rtol=1e-4, atol=1e-5)
    for number, expected in enumerate(gradients):
        found = torch.stack([s[1][number] for s in shares]).sum(0)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert [float(s[2]) for s in shares] == [float(after)] * 3, "all generators go on where one process's does"
