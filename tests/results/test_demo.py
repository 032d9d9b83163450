"""The page to try networks on, in a real browser."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from dataset import images

pytest.importorskip("gradio")


@pytest.fixture
def demo(root):
    """The page's address; it is there until the test ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "results/demo.py", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    assert process.stdout.readline() == f"http://127.0.0.1:{port}, until Ctrl-C\n"
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    process.wait(30)


def opened(browser, address):
    """The page, once it is there."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.wait import WebDriverWait

    wait = WebDriverWait(browser, 90, ignored_exceptions=[WebDriverException])
    wait.until(lambda _: browser.get(address) or True)
    wait.until(lambda _: browser.find_element("css selector", "#enlarge"))
    return wait


def drop(browser, path):
    browser.find_element("css selector", "#picture input[type=file]").send_keys(str(path))


def test_a_picture_is_dropped_wiped_and_downloaded(demo, browser, picture, command, tmp_path):
    images.write_rgb(tmp_path / "a.png", picture(20, 30))
    wait = opened(browser, demo)
    drop(browser, tmp_path / "a.png")
    wait.until(lambda _: "B ⇣" in browser.find_element("css selector", "#picture").text)
    browser.find_element("css selector", "#scale input[value='3']").click()
    browser.find_element("css selector", "#enlarge").click()
    wait.until(lambda _: "90x60 pixels" in browser.find_element("css selector", "#told").text)
    sizes = "return [...document.querySelectorAll('#wipe img')].map(i => [i.naturalWidth, i.naturalHeight])"
    wait.until(lambda _: browser.execute_script(sizes) == [[90, 60], [90, 60]])
    browser.find_element("css selector", "#download").click()
    [downloaded] = wait.until(lambda _: list((tmp_path / "downloads").glob("*.png")))
    done = command("x3/tcw_sample.py", "--test_data_dir", tmp_path / "a.png", "--sample_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    [made] = (tmp_path / "out").rglob("SR/*.png")
    assert downloaded.name == made.name and downloaded.read_bytes() == made.read_bytes()


def test_what_is_no_picture_is_one_line(demo, browser, tmp_path):
    (tmp_path / "a.png").write_bytes(b"a text")
    wait = opened(browser, demo)
    drop(browser, tmp_path / "a.png")
    wait.until(lambda _: "B ⇣" in browser.find_element("css selector", "#picture").text)
    browser.find_element("css selector", "#enlarge").click()
    wait.until(lambda _: "a.png: not a readable picture" in browser.find_element("css selector", "body").text)
    assert "Traceback" not in browser.page_source
