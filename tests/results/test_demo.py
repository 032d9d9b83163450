"""The page to try networks on; what a visitor does is done in a real browser."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import model
from dataset import images
from dataset.errors import InputError
from results import demo

# -- without Gradio ----------------------------------------------------------------------------------


@pytest.fixture
def enlarged(tmp_path):
    """Enlarge a picture by 2 as the page does."""
    return lambda path, memory=None: demo.enlarged(path, "lesrcnn", 2, "fp32", tmp_path, memory)


def test_without_gradio_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match="requirements-demo.txt"):
        demo.build(tmp_path)


def test_an_address_that_is_taken_or_none_is_one_line(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments in (
            ["--port", port],
            ["--port", 99999],
            ["--host", "nowhere.invalid"],
            ["--host", "é" * 80],
            ["--host", ""],
        ):
            done = command("results/demo.py", *arguments)
            assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout
            assert str(arguments[1]) in done.stderr


def test_scales_on_offer_are_those_whose_weights_ship(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert demo._scales("lesrcnn") == [2, 3, 4]
    assert all((root / model.shipped("lesrcnn", scale)).exists() for scale in (2, 3, 4))
    assert demo._scales("none") == []


def test_the_wipe_shows_bicubic_and_the_result(enlarged, picture, tmp_path):
    images.write_rgb(tmp_path / "a.png", picture(20, 30))
    result, (bicubic, shown), told = enlarged(tmp_path / "a.png")
    assert np.array_equal(shown, images.read_rgb(result)) and bicubic.shape == shown.shape == (40, 60, 3)
    assert 0 < np.abs(shown.astype(int) - bicubic).mean() < 10
    assert told[0].startswith("60x40 pixels")


def test_the_wipe_shows_transparency_on_white_and_16_bits_as_8(enlarged, tmp_path):
    deep = np.full((20, 30, 3), 40_000, np.uint16)
    alpha = np.repeat(np.uint16([[0, 65_535]]), 15, axis=1).repeat(20, axis=0)
    images.write(tmp_path / "a.png", images.Picture(deep, alpha=alpha))
    for seen in enlarged(tmp_path / "a.png")[1]:
        assert (seen[:, :24] == 255).all() and abs(seen[:, 36:].astype(int) - round(40_000 / 257)).max() <= 2


def test_a_result_that_is_too_large_to_be_shown_is_told_of(enlarged, picture, monkeypatch, tmp_path):
    images.write_rgb(tmp_path / "a.png", picture(20, 30))
    monkeypatch.setattr(demo, "_PREVIEW", 60 * 40 - 1)
    result, wipe, told = enlarged(tmp_path / "a.png")
    assert wipe is None and "too large to be shown" in told[1] and images.size(result) == (40, 60)


def test_what_a_picture_loses_is_told(enlarged, picture, tmp_path):
    first, second = (Image.fromarray(picture(20, 30, seed)) for seed in (0, 1))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert "holds 2 pictures" in "".join(enlarged(tmp_path / "a.gif")[2])


def test_a_picture_that_needs_more_memory_is_refused_before_it_is_read(enlarged, monkeypatch, tmp_path):
    images.write_rgb(tmp_path / "a.png", np.zeros((6000, 6000, 3), np.uint8))
    monkeypatch.setattr(images, "read", lambda *_: pytest.fail("it is read"))
    with pytest.raises(InputError, match="a.png: needs about .* give --memory"):
        enlarged(tmp_path / "a.png", memory=2**20)


def test_what_is_told_means_nothing_to_a_browser(tmp_path):
    assert (
        demo.as_html([f"{tmp_path / '<b>.png'}: bad", "x\n"], str(tmp_path / "<b>.png")) == "&lt;b&gt;.png: bad<br>x\\n"
    )


def test_a_result_is_forgotten_with_its_folder(enlarged, picture, tmp_path):
    images.write_rgb(tmp_path / "a.png", picture(20, 30))
    result, _, _ = enlarged(tmp_path / "a.png")
    demo.forget(str(result))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    demo.forget(None)


def test_a_failure_leaves_nothing_and_a_folder_is_no_picture(enlarged, tmp_path):
    (tmp_path / "a.png").write_bytes(b"a text")
    for path, words in ((tmp_path / "a.png", "not a readable picture"), (tmp_path, "is no file; drop a picture")):
        with pytest.raises(InputError, match=words):
            enlarged(path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_the_page_offers_stays_until_there_is_another(picture, tmp_path):
    pytest.importorskip("gradio")
    page, _ = demo.build(tmp_path)
    (enlarge,) = (function.fn for function in page.fns.values() if function.api_name == "enlarge")
    images.write_rgb(tmp_path / "a.png", picture(20, 30))
    arguments = str(tmp_path / "a.png"), "lesrcnn", 2, "fp32"
    *_, first = enlarge(*arguments, None)
    *_, told, kept = enlarge(None, *arguments[1:], first)
    assert "drop a picture first" in told and kept == first and os.path.exists(first)
    *_, second = enlarge(*arguments, first)
    assert os.path.exists(second) and not os.path.exists(first)


# -- in a browser ------------------------------------------------------------------------------------


@pytest.fixture
def address(root, tmp_path, request):
    """The page's address; when it has ended, nothing of what was uploaded or made is left."""
    pytest.importorskip("gradio")
    host = getattr(request, "param", "127.0.0.1")
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        port = free.getsockname()[1]
    (temporary := tmp_path / "temporary").mkdir()
    process = subprocess.Popen(
        [sys.executable, "results/demo.py", "--host", host, "--port", str(port)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    try:
        page = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        assert process.stdout.readline() == f"{page}, until Ctrl-C\n"
        yield f"{page}/"
    finally:
        process.send_signal(signal.SIGTERM)  # Ctrl-C may be ignored by what starts the tests, and so by it
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and not said
    assert not list(temporary.iterdir())


@pytest.fixture
def visit(browser, address):
    """Drop a picture and let it be enlarged by 3; returns what waits until something is so."""
    from selenium.webdriver.support.wait import WebDriverWait

    wait = WebDriverWait(browser, 90).until

    def drop(path):
        browser.get(address)
        wait(lambda _: browser.find_elements("css selector", "#picture input[type=file]"))
        browser.find_element("css selector", "#picture input[type=file]").send_keys(str(path))
        wait(lambda _: "B ⇣" in browser.find_element("css selector", "#picture").text)
        browser.find_element("css selector", "#scale input[value='3']").click()
        browser.find_element("css selector", "#enlarge").click()
        return wait

    return drop


def test_a_picture_is_dropped_wiped_and_downloaded(visit, browser, address, elsewhere, picture, command, tmp_path):
    from selenium.webdriver import ActionChains

    deep = picture(20, 30).astype(np.uint16) * 257 + 3
    dropped = tmp_path / "a b (1) é.png"
    images.write(dropped, images.Picture(deep, alpha=deep[..., 0]))
    wait = visit(dropped)
    wait(lambda _: "90x60 pixels" in browser.find_element("css selector", "#told").text)

    sizes = "return [...document.querySelectorAll('#wipe img')].map(i => [i.naturalWidth, i.naturalHeight])"
    wait(lambda _: browser.execute_script(sizes) == [[90, 60], [90, 60]])
    seen = "return document.querySelectorAll('#wipe img')[1].style.clipPath"
    assert browser.execute_script(seen).endswith(" 50%)")
    handle = browser.find_element("css selector", "#wipe [data-testid=slider] .icon-wrap")
    ActionChains(browser).click_and_hold(handle).move_by_offset(-120, 0).release().perform()
    assert not browser.execute_script(seen).endswith(" 50%)")

    browser.find_element("css selector", "#download").click()
    [downloaded] = wait(lambda _: list((tmp_path / "downloads").glob("*.png")))
    done = command("x3/tcw_sample.py", "--test_data_dir", dropped, "--sample_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    [made] = (tmp_path / "out").rglob("SR/*.png")
    assert downloaded.name == made.name and downloaded.read_bytes() == made.read_bytes()
    assert images.read(downloaded).rgb.dtype == np.uint16 and images.read(downloaded).alpha is not None
    assert not elsewhere(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"], indirect=True)
def test_it_ends_while_it_works(address, picture, tmp_path):
    client = pytest.importorskip("gradio_client")
    images.write_rgb(tmp_path / "a.png", picture(900, 900))
    visitor = client.Client(address, verbose=False)
    job = visitor.submit(client.handle_file(tmp_path / "a.png"), "lesrcnn", 4, "fp32", api_name="/enlarge")
    while job.status().code.name != "PROCESSING":
        time.sleep(0.1)
    time.sleep(1)
    assert not job.done()


def test_what_is_no_picture_is_one_line_that_stays_as_does_the_result_before(visit, browser, picture, tmp_path):
    images.write_rgb(tmp_path / "good.png", picture(20, 30))
    (tmp_path / "a.png").write_bytes(b"a text")
    wait = visit(tmp_path / "good.png")
    wait(lambda _: "90x60 pixels" in browser.find_element("css selector", "#told").text)
    browser.find_element("css selector", "#picture button[aria-label]").click()
    wait(lambda _: browser.find_elements("css selector", "#picture input[type=file]"))
    browser.find_element("css selector", "#picture input[type=file]").send_keys(str(tmp_path / "a.png"))
    wait(lambda _: "B ⇣" in browser.find_element("css selector", "#picture").text)
    wait(lambda _: browser.find_element("css selector", "#enlarge").is_enabled())
    browser.find_element("css selector", "#enlarge").click()
    told = wait(lambda _: "not a readable" in (seen := browser.find_element("css selector", "#told").text) and seen)
    assert told.startswith("a.png: not a readable picture") and str(tmp_path) not in told
    assert "Traceback" not in browser.find_element("css selector", "body").text
    browser.find_element("css selector", "#download").click()
    [kept] = wait(lambda _: list((tmp_path / "downloads").glob("*.png")))
    assert images.read_rgb(kept).shape == (60, 90, 3)
