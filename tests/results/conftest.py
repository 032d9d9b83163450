import json
import shutil
import types

import h5py
import numpy as np
import pytest
import torch

import model
from dataset import bicubic, images
from results import measure, reproduce
from solver.checkpoint import save_weights

# What a file, a folder, a device or a label may be called: escape sequences, lines, formulas, and what means something
# to Markdown, LaTeX, Matplotlib or HTML.
NAMES = ["caf\udce9", "\x1b[31mred", "a\nb|c", "=cmd|' /C calc'!A0", "-1", "+1", "@a", "~^\\&%$#_{}[]*`", "a$b$", "$"]
NAMES += [
    "<!--<script>",
    "</script>",
    "\u202egnp.exe",
    "\u2028",
    "x" * 250,
    "a--b",
    "絵",
    "`code`",
    "_a_",
    "**b**",
    "&lt;",
]
NAMES += ["*", "[a](b)", "\\", "a\\|", ":cat:", "~~a~~", "{{data}}", "-->"]


@pytest.fixture(params=NAMES, ids=range(len(NAMES)))
def name(request):
    """A name that is hard to show."""
    return request.param


@pytest.fixture
def names():
    """All of them."""
    return NAMES


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny pictures are not worth two threads, which would only wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Weights of all published names that enlarge bilinearly, so their figures are sensible."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, scale, blind in (
        ("lesrcnn_x2", 2, False),
        ("lesrcnn_x3", 3, False),
        ("lesrcnn_x4", 4, False),
        ("lesrcnn", 2, True),
    ):
        net = model.build("lesrcnn", scale, multi_scale=blind)
        net.init_identity()
        save_weights(net, folder / f"{name}.pth")
    return folder


@pytest.fixture
def data(tmp_path, picture):
    """A folder with Set5 and Sample, two small pictures each."""
    folder = tmp_path / "data"
    for seed, (name, index) in enumerate((n, i) for n in ("Set5", "Sample") for i in (1, 2)):
        hr = picture(48, 60, seed)
        for scale in (2, 3, 4):
            stem = folder / name / f"x{scale}" / f"img_00{index}_SRF_{scale}"
            images.write_rgb(f"{stem}_HR.png", hr)
            images.write_rgb(f"{stem}_LR.png", bicubic.imresize(hr, 1 / scale))
    return folder


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A root of its own for reproduce.py, with nothing but a README in it."""
    root = tmp_path / "house"
    (root / "results").mkdir(parents=True)
    (root / "README.md").write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    monkeypatch.setattr(reproduce, "ROOT", root)
    monkeypatch.setattr(reproduce, "RESULTS", root / "results")
    return root


@pytest.fixture
def settings(weights, data, house):
    """Make reproduce.py's settings: the small data, nothing drawn, output in the house's results/."""

    def make(**changes):
        given = {
            "model": "lesrcnn",
            "weights": weights,
            "data": [data],
            "tables": [],
            "figures": [],
            "page": False,
            "pictures": data / "Sample",
            "out": house / "results",
            "protocol": "published",
        }
        return types.SimpleNamespace(**given | changes)

    return make


@pytest.fixture
def counted(monkeypatch):
    """Count the pictures that are measured: the list grows with each."""
    import solver.measuring.evaluate

    done, real = [], solver.measuring.evaluate.evaluate

    def evaluate(sampler, pictures, *rest, **named):
        done.append((pictures.name, pictures.scale, pictures.items[0].name))
        return real(sampler, pictures, *rest, **named)

    monkeypatch.setattr(solver.measuring.evaluate, "evaluate", evaluate)
    return done


@pytest.fixture
def methods(weights):
    return measure.find_methods(weights)[0]


@pytest.fixture
def training_file(tmp_path, picture):
    """A small HDF5 file in the layout of dataset/div2h5.py."""
    path = tmp_path / "train.h5"
    with h5py.File(path, "w") as file:
        for index in range(2):
            hr = picture(96, 96, index)
            file[f"HR/{index}"] = hr
            for scale in (2, 3, 4):
                file[f"X{scale}/{index}"] = np.ascontiguousarray(bicubic.imresize(hr, 1 / scale))
    return path


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium, which downloads into ``downloads``; skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with chromedriver is installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1200,1000",
        "--disable-dev-shm-usage",
        "--force-prefers-reduced-motion",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driver
    driver.quit()


@pytest.fixture
def elsewhere(browser):
    """What a page has asked for at other addresses than its own, which begins with ``own``; data in it aside."""

    def asked(own: str) -> set[str]:
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = {r["request"]["url"] for r in sent if r["documentURL"].startswith(own)}  # not the browser's start page
        assert urls  # it is seen at all
        return {url for url in urls if not url.startswith(("data:", own))}

    return asked
