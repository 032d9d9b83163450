"""The networks through spandrel, where that is installed."""

import pytest
import torch
from networks import SOME, label

import model
from solver.checkpoint import load_network, save_weights

spandrel = pytest.importorskip("spandrel")

import spandrel_lesrcnn  # noqa: E402


@pytest.fixture
def loader():
    """Make what opens files, with all that spandrel knows and our networks."""

    def make(**arguments):
        spandrel_lesrcnn.register(registry := spandrel.MAIN_REGISTRY.copy(), **arguments)
        return spandrel.ModelLoader(registry=registry)

    return make


def enlarged(net):
    with torch.no_grad():
        return net(torch.linspace(0, 1, 216).view(1, 3, 8, 9)).clamp(0, 1)


@pytest.mark.parametrize(
    "file",
    ["x3/lesrcnn_x3.pth", "checkpoint/x4/espcn_x4.pth", "checkpoint/x3/srcnn_x3.pth", "checkpoint/blind/vdsr.pth"],
)
def test_weights_that_ship_open_and_enlarge(root, loader, file):
    found, (net, info) = loader().load_from_file(root / file), load_network(root / file)
    assert found.architecture.id == f"lesrcnn.{info.network}" and found.scale == net.scale
    assert (found.input_channels, found.output_channels, found.purpose) == (3, 3, "SR")
    assert torch.allclose(enlarged(found), enlarged(net), atol=1e-6)


def test_of_blind_weights_the_scale_can_be_chosen(root, loader):
    file = root / "lesrcnn_b/lesrcnn.pth"
    assert [loader(scale=scale).load_from_file(file).scale for scale in (None, 3, 4, 8)] == [2, 3, 4, 2]


def test_the_paper_s_released_weights_open(reference, loader):
    for scale in (2, 3, 4):
        file = reference / f"weights/lesrcnn_x{scale}.pth"
        assert torch.allclose(enlarged(loader().load_from_file(file)), enlarged(load_network(file)[0]), atol=1e-6)


@pytest.mark.parametrize("name, configuration", SOME, ids=label)
@pytest.mark.parametrize("names", ["own", "release"])
def test_each_network_s_file_is_known_for_what_it_is(loader, tmp_path, name, configuration, names):
    configuration = configuration | ({"u": 25} if name == "drrn" else {})  # which its weights do not show
    save_weights(model.build(name, **configuration), tmp_path / "weights.pth", names)
    registry = loader().registry
    state = loader().load_state_dict_from_file(tmp_path / "weights.pth")
    knowing = [known.architecture for known in registry.architectures("detection") if known.detect(state)]
    assert [architecture.id for architecture in knowing] == [f"lesrcnn.{name}"]
    assert knowing[0]._chosen(state) == configuration


def test_a_form_that_only_the_file_tells_and_nobody_knows_is_refused(loader, tmp_path):
    save_weights(model.build("drrn", u=3), tmp_path / "weights.pth", "own")
    with pytest.raises(spandrel.UnsupportedModelError, match="a form of DRRN that is unknown"):
        loader().load_from_file(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "metadata", [None, "text", {"": None}, {"": {"says": 3}}, {"": {"says": {"scale": torch.zeros(2)}}}]
)
def test_what_no_network_says_of_itself_is_passed_over(loader, metadata):
    state = model.build("lesrcnn", 3).state_dict()
    state._metadata = metadata
    assert loader().load_from_state_dict(state).scale == 3


def test_weights_that_do_not_tell_their_scale_are_refused_or_taken_as_told(loader):
    state = dict(model.build("fsrcnn", 3).state_dict())
    with pytest.raises(spandrel.UnsupportedModelError, match="do not tell their scale"):
        loader().load_from_state_dict(state)
    assert loader(scale=3).load_from_state_dict(state).scale == 3


@pytest.mark.parametrize("network", ["ESRGAN", "Compact", "RCAN", "DnCNN"])
def test_files_of_spandrel_s_own_networks_stay_with_these(loader, network):
    module = getattr(spandrel.architectures, network)
    net = getattr(module, network)()
    for known in loader().registry.architectures("detection"):
        assert not (known.architecture.id.startswith("lesrcnn.") and known.detect(net.state_dict()))
    assert loader().load_from_state_dict(net.state_dict()).architecture.id == network


@pytest.mark.parametrize("change", ["missing", "more", "shape", "no tensor"])
def test_what_is_not_quite_ours_is_not_taken(loader, change):
    state = dict(model.build("lesrcnn", 2).state_dict())
    first = next(iter(state))
    if change == "missing":
        del state[first]
    else:
        state["more" if change == "more" else first] = {"shape": torch.zeros(1), "no tensor": 1}.get(
            change, state[first]
        )
    with pytest.raises(spandrel.UnsupportedModelError):
        loader().load_from_state_dict(state)


def test_half_precision_is_offered_where_it_is_near(root, loader):
    found = loader().load_from_file(root / "checkpoint/x2/espcn_x2.pth")
    assert found.supports_half and not found.supports_bfloat16
    far = dict(found.model.state_dict())
    last = list(far)[-2]
    far[last] = 300 * far[last]  # so the result is hundreds of times the range, and as coarse
    assert not loader().load_from_state_dict(far).supports_half


def test_registered_twice_is_told():
    spandrel_lesrcnn.register(registry := spandrel.ArchRegistry())
    with pytest.raises(spandrel.DuplicateArchitectureError):
        spandrel_lesrcnn.register(registry)
