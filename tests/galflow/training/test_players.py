"""A player's turn moves that player's parameters and nobody else's."""

from types import SimpleNamespace

import pytest
import torch

from galflow.batch import Batch
from galflow.errors import ModelError
from galflow.models.base import Player
from galflow.training.players import PhaseOptimisers, trainable_parameters


def batch() -> Batch:
    return Batch.of(torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(1)))


def test_a_turn_moves_its_own_parameters_alone(toys: SimpleNamespace) -> None:
    model = toys.Duel.tiny()
    model.encoder.weight.requires_grad_(False)
    others_gradients = []
    plain_loss = model.loss

    def watching_loss(given: Batch, player: str) -> torch.Tensor:
        other = model.generator if player == "critic" else model.critic
        others_gradients.append([p.requires_grad or p.grad is not None for p in other.parameters()])
        return plain_loss(given, player)

    model.loss = watching_loss
    team = PhaseOptimisers(model, model.players[:2], None)
    for moving in (0, 1):
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        PhaseOptimisers(model, [model.players[moving]], None).step_round(
            [batch()] * model.players[moving].steps, augment=False
        )
        moved = {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {model.players[moving].name}
        for parameter in model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
    model.encoder.weight.requires_grad_(False)
    others_gradients.clear()
    losses = team.step_round([batch()] * 3, augment=False)
    assert {n: len(values) for n, values in losses.items()} == {"critic": 2, "generator": 1}
    # In the generator's turn the critic keeps its last gradient, but takes no new one.
    assert not any(any(flags) for flags in others_gradients[:2])
    assert not any(p.requires_grad for p in model.critic.parameters())
    team.release()
    assert all(p.grad is None for p in model.parameters())
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["encoder.weight"]


def test_players_settings_reach_their_optimisers(toys: SimpleNamespace) -> None:
    model = toys.Duel.tiny()
    own = PhaseOptimisers(model, model.players[:2], None)
    assert own.learning_rate("critic") == 1e-3
    assert own.state()["critic"]["param_groups"][0]["betas"] == (0.5, 0.9)
    assert own.steps_per_round == 3
    assert PhaseOptimisers(model, model.players[:2], 0.25).learning_rate("generator") == 0.25


def test_modules_may_be_nested_parameters_or_shared(toys: SimpleNamespace) -> None:
    model = toys.Duel.tiny()
    names = ("critic.1", "critic.1.weight", "generator.bias")
    found = trainable_parameters(model, Player("p", names))
    assert [id(p) for p in found] == [id(p) for p in (*model.critic[1].parameters(), model.generator.bias)]


@pytest.mark.parametrize(
    ("player", "text"),
    [
        (Player("p", ("decoder",)), "player 'p' of Duel names 'decoder', which is neither a submodule nor a parameter"),
        (Player("p", ("size",)), "names 'size', which is neither.*correct Player.modules"),
        (Player("p", ("critic.0",)), "player 'p' of Duel owns no trainable parameter in critic.0; give it one"),
        (Player("p", ()), "owns no trainable parameter in its empty list of modules"),
    ],
)
def test_wrong_modules_are_refused(toys: SimpleNamespace, player: Player, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        trainable_parameters(toys.Duel.tiny(), player)


def test_restored_optimisers_continue_bit_by_bit(toys: SimpleNamespace) -> None:
    torch.manual_seed(0)
    model = toys.Duel.tiny()
    team = PhaseOptimisers(model, model.players[:2], None)
    torch.manual_seed(1)
    team.step_round([batch()] * 3, augment=True)
    weights, optimisers = {n: v.clone() for n, v in model.state_dict().items()}, team.state()
    optimisers = {
        k: torch.utils._pytree.tree_map(lambda v: v.clone() if torch.is_tensor(v) else v, s)
        for k, s in optimisers.items()
    }
    torch.manual_seed(2)
    team.step_round([batch()] * 3, augment=True)
    expected = {n: v.clone() for n, v in model.state_dict().items()}

    other = toys.Duel.tiny()
    other.load_state_dict(weights)
    resumed = PhaseOptimisers(other, other.players[:2], None)
    resumed.restore(optimisers)
    torch.manual_seed(2)
    resumed.step_round([batch()] * 3, augment=True)
    assert all(torch.equal(v, expected[n]) for n, v in other.state_dict().items())
