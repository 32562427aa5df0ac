"""MAF: triangular for every order, exact where pixels are missing, inverted entry by entry, finite far out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import zuko
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.flows.bijectors import Spline
from galflow.layers.flows.conditioners import LinearNetwork, MaskedNetwork, RecurrentNetwork
from galflow.layers.flows.latent_flow import SplineTransform
from galflow.layers.flows.transform import FlowState
from galflow.models.maf import MAF, MaskedAffine, MaskedSpline, interleaved_places, raster_places

Stir = Callable[[torch.nn.Module, float], None]


@pytest.fixture
def stir() -> Stir:
    """``stir(module, by)``: weights moved at random, so that nothing is close to the identity."""

    def changed(module: torch.nn.Module, by: float) -> None:
        draw = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(by * torch.randn(parameter.shape, generator=draw))

    return changed


@pytest.fixture(params=["affine", "spline"])
def stirred(request: pytest.FixtureRequest, stir: Stir) -> MAF:
    """Of 3 x 3 pixels in two bands, far from the identity, in double precision."""
    torch.manual_seed(1)
    maf = MAF(
        channels=2, size=3, layers=3, width=24, hidden_layers=2, transform=request.param, bins=4, order="interleaved"
    )
    maf.initialise(Batch.of(2 + 0.5 * torch.randn(64, 2, 3, 3)))
    stir(maf.transform, 0.2)
    return maf.double()


def jacobian_log_det(maf: MAF, image: Tensor, observed: Tensor) -> Tensor:
    """log|det| over the observed entries of one image, by autograd."""

    def mapped(pixels: Tensor) -> Tensor:
        return maf.to_base(Batch(pixels[None], observed[None])).values[0]

    jacobian = torch.autograd.functional.jacobian(mapped, image).flatten(1)
    mask = observed.flatten()
    assert not jacobian[:, ~mask].any()
    return jacobian[mask][:, mask].slogdet()[1]


def test_each_entry_depends_on_those_visited_before_and_on_all_of_them() -> None:
    torch.manual_seed(2)
    entries, numbers = 9, 2
    order = torch.randperm(entries)
    networks = {
        "masked": MaskedNetwork(order=order, numbers=numbers, width=40, hidden_layers=2),
        "narrow": MaskedNetwork(order=order, numbers=numbers, width=3, hidden_layers=2),
        "recurrent": RecurrentNetwork(entries=entries, numbers=numbers, state=4, width=6),
        "linear": LinearNetwork(entries=entries, numbers=numbers, state=4, width=6),
    }
    for name, network in networks.items():
        place = order if name in ("masked", "narrow") else torch.arange(entries)
        jacobian = torch.autograd.functional.jacobian(lambda x, n=network: n(x[None])[0], torch.randn(entries))
        depends = (jacobian != 0).any(1)
        earlier = place[None] < place[:, None]
        assert not depends[~earlier].any(), name
        if name != "narrow":
            assert depends[earlier].all(), name
    narrow = torch.autograd.functional.jacobian(lambda x: networks["narrow"](x[None])[0], torch.randn(entries))
    last = (narrow != 0).any(1)[order.argmax()]
    assert last.sum() >= entries - -(-entries // 3), "the last entry looks at most of the earlier ones, not at a few"


def test_visiting_one_by_one_gives_what_one_pass_gives() -> None:
    torch.manual_seed(3)
    networks = (
        MaskedNetwork(order=torch.randperm(7), numbers=3, width=16, hidden_layers=3),
        RecurrentNetwork(entries=7, numbers=3, state=4, width=6),
        LinearNetwork(entries=7, numbers=3, state=4, width=6),
    )
    values = 20 * torch.randn(5, 7)
    for network in networks:
        seen: dict[int, Tensor] = {}

        def find(entry: int, numbers: Tensor, seen: dict[int, Tensor] = seen) -> Tensor:
            seen[entry] = numbers
            return values[:, entry]

        assert torch.equal(network.sequential_inverse(5, find), values)
        together = torch.stack([seen[entry] for entry in range(7)], 1)
        torch.testing.assert_close(together, network(values), rtol=1e-4, atol=1e-5)


def test_log_determinant_against_autograd_also_with_missing_pixels(stirred: MAF) -> None:
    draw = torch.Generator().manual_seed(4)
    images = 2 + 0.5 * torch.randn(3, 2, 3, 3, generator=draw, dtype=torch.float64)
    observed = torch.rand(images.shape, generator=draw) > torch.tensor([0.0, 0.3, 0.6]).view(3, 1, 1, 1)
    found = stirred.to_base(Batch(images, observed)).log_det
    for image, seen, value in zip(images, observed, found, strict=True):
        torch.testing.assert_close(value, jacobian_log_det(stirred, image, seen), rtol=1e-8, atol=1e-8)


def test_decoding_undoes_encoding(stirred: MAF) -> None:
    images = 2 + torch.randn(16, 2, 3, 3, dtype=torch.float64)
    assert (stirred.decode(stirred.encode(Batch.of(images))) - images).abs().max() < 1e-6
    single = stirred.float()
    assert (single.decode(single.encode(Batch.of(images.float()))) - images.float()).abs().max() < 1e-4


def test_samples_have_the_density_that_is_stated(stir: Stir) -> None:
    torch.manual_seed(6)
    maf = MAF(channels=2, size=1, layers=2, width=16, hidden_layers=1)
    stir(maf.transform, 0.3)
    drawn = maf.sample(40_000, torch.Generator().manual_seed(7))
    axis = torch.linspace(-16, 16, 801)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = maf.log_prob(Batch.of(points[:, :, None, None])).exp().view(801, 801) * 0.04**2
    assert float(density.sum()) == pytest.approx(1, abs=0.005)
    for band, marginal in enumerate((density.sum(1), density.sum(0))):
        mean = float((marginal * axis).sum())
        spread = float((marginal * (axis - mean).square()).sum()) ** 0.5
        assert float(drawn[:, band].mean()) == pytest.approx(mean, abs=5 * spread / 200)
        assert float(drawn[:, band].std()) == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_the_density_of_what_is_observed_integrates_to_one(transform: str, stir: Stir) -> None:
    """Two bands of one pixel and a third that is missing: a grid over the two; then a grid over one of them."""
    torch.manual_seed(8)
    maf = MAF(channels=3, size=1, layers=3, width=16, hidden_layers=1, transform=transform, bins=4)  # type: ignore[arg-type]
    stir(maf.transform, 0.25)
    axis = torch.linspace(-9, 9, 361)
    points = torch.cartesian_prod(axis, axis)
    for missing in range(3):
        shown = [band for band in range(3) if band != missing]
        pixels = torch.full((len(points), 3), float("nan"))
        pixels[:, shown] = points
        observed = torch.ones_like(pixels, dtype=torch.bool)
        observed[:, missing] = False
        with torch.no_grad():
            log_prob = maf.log_prob(Batch(pixels[:, :, None, None], observed[:, :, None, None]))
        assert float(log_prob.exp().sum() * 0.05**2) == pytest.approx(1, abs=0.01)
        alone = torch.zeros(361, 3)
        alone[:, shown[0]] = axis
        seen = torch.zeros(361, 3, dtype=torch.bool)
        seen[:, shown[0]] = True
        with torch.no_grad():
            line = maf.log_prob(Batch(alone[:, :, None, None], seen[:, :, None, None]))
        assert float(line.exp().sum() * 0.05) == pytest.approx(1, abs=0.01)


def test_one_layer_is_zukos_with_the_same_numbers() -> None:
    """zuko's AutoregressiveTransform, given our masked network, is an independent way to map and to invert."""
    torch.manual_seed(9)
    for kind in ("affine", "spline"):
        spline = Spline(4)
        numbers = 2 if kind == "affine" else spline.parameters
        network = MaskedNetwork(order=torch.randperm(5), numbers=numbers, width=20, hidden_layers=1)
        layer = MaskedAffine(network) if kind == "affine" else MaskedSpline(network, spline)
        with torch.no_grad():
            network.last.weight.normal_(0, 0.3)

        def meta(x: Tensor, network: MaskedNetwork = network, kind: str = kind) -> torch.distributions.Transform:
            numbers = network(x)
            if kind == "affine":
                log_scale = -5 * torch.tanh(numbers[..., 1] / 5)
                affine = torch.distributions.AffineTransform(-numbers[..., 0] * log_scale.exp(), log_scale.exp())
                return zuko.transforms.DependentTransform(affine, 1)
            return zuko.transforms.DependentTransform(SplineTransform(numbers, Spline(4)), 1)

        reference = zuko.transforms.AutoregressiveTransform(meta, passes=5)
        values = torch.randn(6, 5)
        ours = layer(FlowState(values, torch.ones_like(values), torch.zeros(6)))
        torch.testing.assert_close(ours.values, reference(values), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            ours.log_det, reference.log_abs_det_jacobian(values, ours.values), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(layer.inverse(ours.values), reference.inv(ours.values), rtol=1e-3, atol=1e-3)


def test_scores_stay_finite_far_out(stir: Stir) -> None:
    torch.manual_seed(10)
    far = 1e6 * torch.randn(4, 2, 4, 4)
    for kind in ("affine", "spline"):
        for layers in (1, 12):
            maf = MAF(channels=2, size=4, layers=layers, width=16, transform=kind)  # type: ignore[arg-type]
            stir(maf.transform, 1.0)
            assert maf.score(Batch.of(far))["bits_per_dim"].isfinite().all()


def test_orders_visit_every_entry_once() -> None:
    for channels, size in ((2, 1), (1, 8), (3, 6), (2, 5)):
        for places in (raster_places(channels, size), interleaved_places(channels, size)):
            assert places.sort().values.tolist() == list(range(channels * size**2))
    raster = raster_places(2, 2).view(2, 2, 2)
    assert raster.tolist() == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]
    lattice = interleaved_places(1, 4).view(4, 4)
    assert lattice[0, 0] == 0
    assert sorted(lattice[::2, ::2].flatten().tolist()) == [0, 1, 2, 3]


def test_starts_as_independent_standardised_pixels() -> None:
    torch.manual_seed(11)
    width = torch.linspace(0.5, 3, 9).view(1, 1, 3, 3)
    images = 5 + width * torch.randn(4000, 1, 3, 3)
    maf = MAF(channels=1, size=3, layers=2)
    maf.initialise(Batch.of(images))
    found = float(maf.log_prob(Batch.of(images)).detach().mean())
    expected = float(
        torch.distributions.Normal(5.0, width.expand(4000, -1, -1, -1)).log_prob(images).sum((1, 2, 3)).mean()
    )
    assert found == pytest.approx(expected, abs=0.5)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(SpecError, match=r"layers is 0; a MAF needs at least one"):
        MAF(channels=1, size=4, layers=0)
    with pytest.raises(SpecError, match=r"transform is 'cubic'; choose one of 'affine', 'spline'"):
        MAF(channels=1, size=4, transform="cubic")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"order is 'spiral'; choose one of 'raster', 'interleaved'"):
        MAF(channels=1, size=4, order="spiral")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"bins is 1; a spline needs at least two"):
        MAF(channels=1, size=4, transform="spline", bins=1)
    with pytest.raises(SpecError, match=r"at least one hidden layer of one unit; got width=0"):
        MAF(channels=1, size=4, width=0)
    with pytest.raises(SpecError, match=r"state and a width of at least 1; got 0 and 4"):
        RecurrentNetwork(entries=3, numbers=1, state=0, width=4)
    with pytest.raises(SpecError, match=r"state and a width of at least 1; got 4 and 0"):
        LinearNetwork(entries=3, numbers=1, state=4, width=0)
