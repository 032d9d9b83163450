"""Networks of what no network here is made of yet: whatever is faster for some, all of them come out right.

Each is compared with itself called as it is, in one piece.
"""

import pytest
import torch
from networks import in_strips, stitched
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm as parametrized_weight_norm

from dataset import images
from model.ops import NONE, Bicubic, Network, OnLuma, SubPixelUpsampler, trim
from solver import machine
from solver.sampling.sampler import Sampler

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")

CHANNELS = 8
SIZES = ((1, 1), (1, 13), (22, 17), (37, 30))


def conv(inputs: int = CHANNELS, outputs: int = CHANNELS, size: int = 3, **more) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **more)


class Toy(Network):
    """A first layer, what ``middle`` makes of its features, an up-sampler and a last layer."""

    picture_facing = ("head", "last")
    radius: float | None = 2.0  # of the middle

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale)
        self.head = conv(3)
        self.up = conv(CHANNELS, CHANNELS * scale**2)
        self.last = conv(CHANNELS, 3, bias=False)
        self.first, self.second = conv(), conv()
        self.prepare()

    def prepare(self) -> None:
        """Make what else the middle needs."""

    def middle(self, y: torch.Tensor) -> torch.Tensor:
        return self.second(F.relu(self.first(y)))

    def forward(self, x, scale=None, margins=NONE):
        scale = self.chosen(scale)
        fine = F.pixel_shuffle(self.up(self.middle(F.relu(self.head(x)))), scale)
        return trim(self.last(fine), margins, scale)

    def reach(self, scale):
        return None if self.radius is None else 2 + self.radius + 1 / scale


class Plain(Toy):
    pass


class Prelu(Toy):
    def prepare(self):
        self.prelu = nn.PReLU(CHANNELS, init=0.2)

    def middle(self, y):
        return self.second(self.prelu(self.first(y)))


class Tanh(Toy):
    def middle(self, y):
        return self.second(torch.tanh(self.first(y)).sigmoid())


class Modules(Toy):
    """Rectifiers that are modules, one that works in place."""

    def prepare(self):
        self.layers = nn.Sequential(self.first, nn.ReLU(inplace=True), self.second, nn.LeakyReLU(0.1))

    def middle(self, y):
        return self.layers(y)


class Transposed(Toy):
    def prepare(self):
        self.deconv = nn.ConvTranspose2d(CHANNELS, 3, 9, stride=self.scale, padding=4, output_padding=self.scale - 1)

    def forward(self, x, scale=None, margins=NONE):
        scale = self.chosen(scale)
        return trim(self.deconv(F.relu(self.first(F.relu(self.head(x))))), margins, scale)

    def reach(self, scale):
        return 2 + 4 / scale + 1


class OldWeightNorm(Toy):
    def prepare(self):
        self.first = torch.nn.utils.weight_norm(self.first)
        self.last = torch.nn.utils.weight_norm(self.last)


class NewWeightNorm(Toy):
    def prepare(self):
        self.first = parametrized_weight_norm(self.first)
        self.last = parametrized_weight_norm(self.last)


class Hooked(Toy):
    """A layer whose output is changed from outside."""

    def prepare(self):
        self.first.register_forward_hook(lambda module, inputs, output: 2 * output)


class Attention(Toy):
    """Channels are weighed by their means over the picture."""

    radius = None

    def middle(self, y):
        means = F.adaptive_avg_pool2d(y, 1)
        return y * torch.sigmoid(self.second(F.relu(self.first(means))))


class Alpha(Toy):
    def middle(self, y):
        return F.relu(torch.add(self.second(F.relu(self.first(y))), y, alpha=0.1))


class Broadcast(Toy):
    """Sums and products with numbers for each channel, before a rectifier and after it."""

    def prepare(self):
        self.shift = nn.Parameter(torch.rand(1, CHANNELS, 1, 1))
        self.gain = nn.Parameter(torch.rand(CHANNELS, 1, 1))

    def middle(self, y):
        return F.relu(self.second(F.relu(self.first(y) + self.shift)) + 2 * self.gain) * (self.gain + 1) - 0.1


class Buffer(Toy):
    def prepare(self):
        self.register_buffer("gain", torch.rand(1, CHANNELS, 1, 1))

    def middle(self, y):
        return F.relu(self.second(self.first(y) * (2 * self.gain)) + self.gain)


class OneMap(Toy):
    """A sum with a map of one channel, on both sides, and a product with one."""

    def prepare(self):
        self.to_one = conv(CHANNELS, 1)

    def middle(self, y):
        one = F.relu(self.to_one(y))
        return F.relu(F.relu(self.second(y) + one) * one + self.to_one(y)) + F.relu(self.to_one(y) + y)


class Grouped(Toy):
    """A residual around a convolution in groups, which oneDNN does not add to in bf16."""

    def prepare(self):
        self.grouped = conv(groups=4)

    def middle(self, y):
        return F.relu(self.grouped(y) + y)


class Keywords(Toy):
    def middle(self, y):
        return self.second(F.relu(F.conv2d(input=y, weight=self.first.weight, padding=(1,)) + 0.1))


class ComputedWeight(Toy):
    def prepare(self):
        self.gain = nn.Parameter(torch.rand(CHANNELS, 1, 1, 1))

    def middle(self, y):
        return F.relu(F.conv2d(y, self.first.weight * self.gain, self.first.bias, padding=1) + y)


class Unrecorded(Toy):
    """What is made of weights behind the recorder's back is computed anew each time."""

    def prepare(self):
        self.gain = nn.Parameter(torch.rand(1, CHANNELS, 1, 1))

    def middle(self, y):
        return F.relu(self.first(y) * (dict(self.named_parameters())["gain"] * 2))


class Concatenated(Toy):
    """Layers that hear several before them, of which one lags behind."""

    def prepare(self):
        self.of_two, self.of_three = (conv(n * CHANNELS, CHANNELS, 1) for n in (2, 3))

    def middle(self, y):
        heard = torch.cat([y, self.first(y)], dim=1)
        return self.of_three(F.relu(torch.cat([self.second(F.relu(self.of_two(heard))), heard], dim=1)))


class ConcatenatedRows(Toy):
    """What is put together otherwise."""

    radius = None

    def middle(self, y):
        return torch.cat([self.first(y), self.second(y)], dim=2)[:, :, : y.shape[2]]


class Gate(Toy):
    def middle(self, y):
        return y * F.relu(self.first(y)) - F.relu(self.second(y))


class InPlace(Toy):
    def middle(self, y):
        y += self.first(y)
        z = F.relu_(y)
        z += self.second(z)
        return F.relu(z, inplace=True) + y


class SeenBefore(Toy):
    """A sum in place changes what has another name too."""

    def middle(self, y):
        shallow = y = self.first(y)
        y += F.relu(self.second(y))
        y *= 2
        return F.relu(shallow) + y


class Statement(Toy):
    """What works in place, and is not assigned."""

    radius = 1.0

    def middle(self, y):
        y = self.first(y)
        F.relu(y, inplace=True)
        return y


class StatementByPlace(Toy):
    radius = 1.0

    def middle(self, y):
        y = self.first(y)
        F.relu(y, True)
        return y


class View(Toy):
    """A part of the features changes in place, and all of them are read afterwards."""

    def middle(self, y):
        y = self.first(y)
        part = y[:, :3]
        part += 1
        return F.relu(y + self.second(y))


class SameFunction(Toy):
    """Convolutions as functions; the padding is a word, and a layer serves twice."""

    def middle(self, y):
        y = F.conv2d(y, self.first.weight, padding="same")
        return F.relu(y + F.conv2d(y, self.first.weight, self.first.bias, padding=1))


class Reshaped(Toy):
    """Padded to an even size and halved; where a picture is cut makes a difference, so it never is."""

    radius = None

    def middle(self, y):
        height, width = y.shape[2:]
        if height % 2 or width % 2:
            y = F.pad(y, (0, width % 2, 0, height % 2))
        coarse = F.conv2d(y, self.first.weight, self.first.bias, stride=2, padding=1)
        return F.interpolate(F.relu(coarse), scale_factor=2)[:, :, :height, :width]


class Few(Toy):
    """Few output channels at LR size, of kernels that are not square."""

    def prepare(self):
        self.tall, self.wide = (
            nn.Conv2d(CHANNELS, 2, size, padding=beyond, bias=False) for size, beyond in (((5, 1), (2, 0)), (7, 3))
        )

    radius = 3.0

    def middle(self, y):
        return y * (self.tall(y) + self.wide(y))[:, 1:]


class Enlarged(Network):
    """VDSR's way: the picture is enlarged first, and its details are added."""

    scales = (2, 3, 8)

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale)
        self.bicubic = Bicubic(scale)
        self.first, self.last = conv(3), conv(CHANNELS, 3)

    def forward(self, x, scale=None, margins=NONE):
        enlarged = self.bicubic(x)
        return trim(enlarged + self.last(F.relu(self.first(enlarged))), margins, self.chosen(scale))

    def reach(self, scale):
        return Bicubic.reach + 2 / scale


class Luma(OnLuma):
    """ESPCN's way, for luma alone."""

    scales = (2, 3, 8)

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale)
        self.body = nn.Sequential(conv(1, CHANNELS, 5), nn.Tanh(), conv(CHANNELS, scale**2), nn.PixelShuffle(scale))

    def enlarge(self, y, scale):
        return self.body(y)

    def reach(self, scale):
        return 3.0


TOYS = [
    *((toy, 2) for toy in Toy.__subclasses__()),
    *((toy, 3) for toy in (Plain, Few, Transposed, OneMap)),
    *((toy, scale) for toy in (Enlarged, Luma) for scale in toy.scales),
]
toys = pytest.mark.parametrize("toy, scale", TOYS, ids=lambda value: getattr(value, "__name__", value))


@pytest.fixture
def net(toy, scale) -> Network:
    torch.manual_seed(0)
    return toy(scale).eval()


@torch.inference_mode()
def plainly(net, rgb) -> torch.Tensor:
    return net(images.to_tensor(rgb, torch.device("cpu")), net.scale)


@toys
def test_it_comes_out_right_in_one_piece_in_tiles_and_in_strips(net, scale, picture):
    samplers = {tile: Sampler(net, scale, tile=tile) for tile in ("none", 5)} if net.reach(scale) else {}
    samplers["auto"] = Sampler(net, scale)
    for _ in range(2):
        for height, width in SIZES:
            rgb = picture(height, width, seed=height)
            expected = plainly(net, rgb)
            assert expected.std() > 1e-3 or height == 1
            results = {tile: stitched(sampler, rgb) for tile, sampler in samplers.items()}
            if samplers["auto"]._backend.flows:
                for rows, columns in ((1, 1), (3, 2), (16, 1)):
                    flowing = in_strips(Sampler(net, scale), width, rows, min(columns, width))
                    results[f"strips of {rows}"] = stitched(flowing, rgb)
            for how, result in results.items():
                assert (result - expected).abs().max() < 2e-5, (how, height, width)
        with torch.no_grad():  # as training does between two calls
            for value in (*net.parameters(), *net.buffers()):
                value.mul_(0.9)


@toys
def test_bf16_is_near_it(net, scale, picture, monkeypatch):
    monkeypatch.setattr("solver.machine.has_bf16", lambda device: True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    rgb = picture(14, 11)
    result = stitched(Sampler(net, scale, precision="bf16"), rgb)
    expected = plainly(net, rgb)
    assert 0 < (result - expected).abs().max() and (result - expected).std() < 0.03 * expected.std()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    "toy, scale", [(Plain, 2), (Broadcast, 2), (OneMap, 2), (Gate, 2), (Concatenated, 2), (Few, 3)]
)
def test_what_is_known_is_computed_the_fast_way(net, scale):
    assert Sampler(net, scale)._backend._fused is not None


class Facing(Network):
    """Nothing but a layer that faces the picture."""

    picture_facing = ("only",)
    after = staticmethod(F.relu)

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale)
        self.only = conv(3, 3 * scale**2)

    def forward(self, x, scale=None, margins=NONE):
        return trim(F.pixel_shuffle(self.after(self.only(x)), self.chosen(scale)), margins, scale)


class FacingPlainly(Facing):
    after = staticmethod(torch.tanh)


@pytest.mark.parametrize("toy, scale", [(Facing, 2), (FacingPlainly, 2)])
def test_layers_that_face_the_picture_stay_in_fp32(net, scale, picture, monkeypatch):
    monkeypatch.setattr("solver.machine.has_bf16", lambda device: True)
    rgb = picture(9, 8)
    result = stitched(Sampler(net, scale, precision="bf16"), rgb)
    assert (result - plainly(net, rgb)).abs().max() < 1e-6


@pytest.mark.parametrize("toy, scale", [(Attention, 2)])
def test_a_network_that_sees_the_whole_picture_is_cut_only_where_a_number_insists(net, scale, picture, capsys):
    rgb = picture(60, 50)
    assert (stitched(Sampler(net, scale, memory=1), rgb) - plainly(net, rgb)).abs().max() < 2e-5
    assert capsys.readouterr().err == ""
    cut = Sampler(net, scale, tile=10)
    assert cut.grid(60, 50).count > 1 and stitched(cut, rgb).isfinite().all()
    stitched(cut, rgb)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "sees the whole picture" in told


@pytest.mark.parametrize("strips", [False, True])
@pytest.mark.parametrize("change", ["assigned", "replaced", "hooked", "attribute"])
def test_a_sampler_follows_its_network(change, strips, picture, monkeypatch):
    """A network's parts may be exchanged between two calls, not only change in place."""

    class Factor(Toy):
        factor = 1.0

        def middle(self, y):
            return self.second(F.relu(self.first(y))) * self.factor

    torch.manual_seed(0)
    net, rgb = Factor().eval(), picture(20, 24)
    if strips:
        monkeypatch.setattr("solver.sampling.sampler._WHOLE", 100)
        monkeypatch.setattr("solver.sampling.sampler._WHOLE_BYTES", 100)
    sampler = Sampler(net, 2)
    before = stitched(sampler, rgb)
    assert bool(sampler.strips(*rgb.shape[:2])) == strips
    if change == "assigned":
        net.load_state_dict({name: 1.1 * value for name, value in net.state_dict().items()}, assign=True)
    elif change == "replaced":
        net.last = conv(CHANNELS, 3, bias=False)
    elif change == "hooked":
        net.last.register_forward_hook(lambda module, inputs, output: 2 * output)
    else:
        net.factor = 3.0
    with torch.inference_mode():
        expected = net(images.to_tensor(rgb), 2)
    after = stitched(sampler, rgb)
    assert (after - expected).abs().max() < 1e-5 < (after - before).abs().max()


def test_all_of_a_layer_that_faces_the_picture_stays_exact(picture, monkeypatch):
    """In bf16 too, and if it is made of others."""

    class Facing3(Network):
        picture_facing = ("head", "up")

        def __init__(self):
            super().__init__(scale=2)
            self.head, self.up = conv(3, 3), SubPixelUpsampler(2, 3)

        def forward(self, x, scale=None, margins=NONE):
            return trim(self.up(self.head(x)), margins, 2)

    monkeypatch.setattr(machine, "has_bf16", lambda device: True)
    net, rgb = Facing3().eval(), picture(20, 24)
    with torch.inference_mode():
        assert (stitched(Sampler(net, 2, precision="bf16"), rgb) - net(images.to_tensor(rgb), 2)).abs().max() < 1e-5
