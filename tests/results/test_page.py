import json
import os
import re
import shutil
from html.parser import HTMLParser

import pytest

from dataset.errors import InputError, shown
from results import network_table, page, tables
from results.table import Column, Row, Table


@pytest.fixture
def report(tmp_path, data, methods):
    """A report page of two small pictures, with everything on it."""
    log = tmp_path / "run_a.csv"
    log.write_text(
        "step,seconds,lr,loss,Sample_x2_psnr,Sample_x2_ssim\n"
        "100,1,1e-4,0.1,28.5,0.9\n200,2,1e-4,0.1,29.5,0.9\n"
        "300,3,1e-4,0.1,30.0,0.91\n"
    )
    path = tmp_path / "report" / "index.html"
    page.write(
        path,
        [tables.benchmark("Set5", [], "published"), tables.complexity(9)],
        methods,
        data / "Sample",
        "published",
        {},
        {"Runs": [log]},
    )
    return path


def content(path) -> dict:
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1))


def test_page_holds_its_data(report):
    data = content(report)
    assert [p["name"] for p in data["pictures"]] == ["img_001", "img_002"]
    assert list(data["pictures"][0]["scales"]) == ["2", "3", "4"]
    assert [v["label"] for v in data["pictures"][0]["scales"]["4"]] == ["Bicubic", "LESRCNN", "LESRCNN-S"]
    assert data["plots"][0]["curves"][0] == {
        "name": "run_a",
        "steps": [100, 200, 300],
        "psnr": {"Sample x2": [28.5, 29.5, 30.0]},
    }
    values = {row["texts"][0]: row["values"] for row in data["tables"][1]["rows"]}
    assert values["DRCN"][1:3] == [1_774_000, 29.07e9]


def test_page_asks_nothing_of_any_network(report):
    text = report.read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "{{data}}" not in text
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"data:image/[^\"]*", "", text)))
    assert addresses <= {"http://www.w3.org"}  # SVG's name, fetched by nobody


class Scripts(HTMLParser):
    """The scripts of a page, as a browser finds them."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.found.append("")

    def handle_data(self, data):
        if self.lasttag == "script":
            self.found[-1] += data


@pytest.fixture
def hostile(tmp_path, data, methods, names):
    """A page with all of these names in a table, and with some of pictures, curves and texts; those of its pictures."""
    pictures, log = tmp_path / "few", tmp_path / f"{names[0]}<!--<script>.csv"
    (pictures / "x2").mkdir(parents=True)
    worst = [name.replace("/", "%")[:200] for name in sorted(names, key=lambda name: "<" not in name)]
    shown_names = []
    for index, name in enumerate(worst[: page.MOST_PICTURES]):
        shown_names.append(shown(f"{index:02}{name}"))
        for kind in ("HR", "LR"):
            copy = pictures / "x2" / f"{index:02}{name}_SRF_2_{kind}.png"
            shutil.copy(data / f"Sample/x2/img_001_SRF_2_{kind}.png", copy)
    log.write_text("step,<!--<script>_psnr,$_psnr\n1,30,31\n")
    table = Table("t", "<!--<script>", [Column("a", "`")], [Row((name,)) for name in names], ["<!--<script> `<b>`"])
    path = tmp_path / "index.html"
    page.write(path, [table], methods[:1], pictures, "published", {}, {"<!--<script>": [log]})
    return path, shown_names


def test_a_page_of_any_names_is_whole(hostile, names):
    path, pictures = hostile
    scripts = Scripts(path.read_text(encoding="utf-8")).found
    data = json.loads(scripts[0])
    assert len(scripts) == 2 and not set("<\u2028\u2029") & set(scripts[0])
    assert [picture["name"] for picture in data["pictures"]] == pictures
    assert [row["texts"] for row in data["tables"][0]["rows"]] == [[shown(name)] for name in names]
    assert list(data["plots"][0]["curves"][0]["psnr"]) == ["<!--<script>", "$"]


def test_pictures_are_compared_with_themselves(tmp_path, data, methods):
    """Not with others that have their place at another scale."""
    (data / "Sample/x3/img_001_SRF_3_LR.png").unlink()
    (data / "Sample/x3/img_001_SRF_3_HR.png").unlink()
    found, left_out = page.compared(data / "Sample", methods, "published")
    assert [picture["name"] for picture in found] == ["img_002"] and left_out == 1


def test_curves_are_drawn_with_as_many_points_as_a_browser_takes(tmp_path):
    rows = [f"{step},{step % 40}" for step in range(1, 2 * page.MOST_POINTS + 2)]
    (tmp_path / "log.csv").write_text("\n".join(["step,a_psnr", *rows]))
    steps = page.curve_data(tmp_path / "log.csv")["steps"]
    assert len(steps) < page.MOST_POINTS and steps[-1] == len(rows)


def test_a_pipe_instead_of_a_figure(tmp_path):
    os.mkfifo(tmp_path / "figure1.png")
    with pytest.raises(InputError, match="figure1.png: is a pipe"):
        page.png(tmp_path / "figure1.png")


@pytest.mark.parametrize(
    "cell, value", [("630K", 630e3), ("3.06G", 3.06e9), ("12-core G", None), ("²K", None), ("9G9K", None)]
)
def test_what_is_sorted_as_a_number(cell, value):
    assert page._sortable(cell) == (cell if value is None else value)


def test_page_cannot_be_broken_by_a_name(tmp_path, data, methods):
    file = tmp_path / "a<b>&`.csv"
    file.write_text("step,x</script>_psnr\n1,30\n")
    page.write(tmp_path / "index.html", [], methods[:1], data / "Sample", "published", {}, {"</script>": [file]})
    assert content(tmp_path / "index.html")["plots"][0]["title"] == "</script>"


def test_committed_page_is_of_the_committed_figures(root):
    path = root / "results/report/index.html"
    if not path.exists():
        pytest.skip("nothing has been made yet")
    from results import measure

    methods = measure.find_methods(None)[0]
    data = content(path)
    assert [w["sha256"] for w in data["weights"]] == [m.sha256 for m in methods]
    memory = measure.Memory(root / "results/measured.json")
    headline = tables.headline(memory.complete(methods, "published"))
    shown = {table["name"]: table for table in data["tables"]}
    for table in [headline, *tables.every(memory.for_tables(methods, "published"), "published")]:
        assert shown[table.name] == json.loads(json.dumps(page.table_data(table))), table.name
    if (compared := root / "results/networks.csv").exists():
        table = network_table.table(network_table.read(compared))
        assert shown[table.name] == json.loads(json.dumps(page.table_data(table)))
    assert path.stat().st_size < 4e6


# -- in a browser ------------------------------------------------------------------------------------


def test_page_of_any_names_works(hostile, browser):
    path, pictures = hostile
    browser.get(path.as_uri())
    texts = "return [...document.querySelectorAll('#per-picture td:first-child')].map(cell => cell.textContent)"
    assert browser.execute_script(texts) == pictures
    assert browser.execute_script("return document.querySelectorAll('#t tr, #plot polyline, #weights li').length") > 3
    assert not [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_page_works(report, browser, elsewhere):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.by import By

    browser.get(report.as_uri())
    find = lambda selector: browser.find_element(By.CSS_SELECTOR, selector)  # noqa: E731
    texts = lambda selector: [e.text for e in browser.find_elements(By.CSS_SELECTOR, selector)]  # noqa: E731
    run = browser.execute_script

    # the slider, by keyboard and by pointer
    divider, stage = find("#divider"), find("#stage")
    assert divider.get_attribute("aria-valuenow") == "50"
    divider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert divider.get_attribute("aria-valuenow") == "54"
    divider.send_keys(Keys.END)
    assert divider.get_attribute("aria-valuenow") == "100"
    quarter = -stage.size["width"] // 4
    ActionChains(browser).move_to_element(stage).click_and_hold().move_by_offset(quarter, 0).release().perform()
    assert abs(int(divider.get_attribute("aria-valuenow")) - 25) <= 1
    clip = run("return getComputedStyle(document.getElementById('right-layer')).clipPath")
    assert re.match(r"inset\(0px 0px 0px (24|25|26)", clip)

    # zoom, then drag moves the picture and not the slider
    divider.send_keys("+", "+", "+")
    assert find("#zoom-reset").text == "3.4×"
    before = find("#left-image").get_attribute("style")
    ActionChains(browser).move_to_element_with_offset(stage, 100, 60).click_and_hold().move_by_offset(
        -40, -10
    ).release().perform()
    assert find("#left-image").get_attribute("style") != before
    assert find("#left-image").get_attribute("style") == find("#right-image").get_attribute("style")
    assert abs(int(divider.get_attribute("aria-valuenow")) - 25) <= 1
    find("#zoom-reset").click()
    assert "scale(1)" in find("#left-image").get_attribute("style")

    # scale, picture and what is compared
    data = content(report)
    buttons = browser.find_elements(By.CSS_SELECTOR, "#scales button")
    assert [b.text for b in buttons] == ["×2", "×3", "×4"]
    buttons[1].click()
    browser.find_elements(By.CSS_SELECTOR, "#thumbs button")[1].click()
    shown = {v["label"]: v for v in data["pictures"][1]["scales"]["3"]}
    assert f"{shown['Bicubic']['psnr']:.2f} dB / {shown['Bicubic']['ssim']:.4f}" in find("#left-score").text
    assert f"{shown['LESRCNN']['psnr']:.2f} dB" in find("#right-score").text
    assert find("#left-image").get_attribute("src") == shown["Bicubic"]["uri"]
    assert run("return document.getElementById('left-image').naturalWidth") == 60
    assert texts("#per-picture tbody tr.chosen td:first-child") == ["img_002"]
    hold = find("#hold")
    ActionChains(browser).click_and_hold(hold).perform()
    assert find("#hr-layer").is_displayed()
    ActionChains(browser).release().perform()
    assert not find("#hr-layer").is_displayed()

    # tables sort, empty cells last, and back
    first = "#table4 tbody tr td:nth-child(4)"
    original = texts(first)
    head = find("#table4 th:nth-child(4) button")
    for direction in ("descending", "ascending"):
        head.click()
        assert find("#table4 th:nth-child(4)").get_attribute("aria-sort") == direction
        values = texts(first)
        numbers = [float(v) for v in values if v != "-"]
        assert numbers == sorted(numbers, reverse=direction == "descending") and values[len(numbers) :] == ["-"]
    head.click()
    assert texts(first) == original

    # curves
    assert "run_a: 30.00" in find("#legend").text and len(browser.find_elements(By.CSS_SELECTOR, "#plot polyline")) == 1

    # dark, light, and as narrow as a phone
    ground = run("return getComputedStyle(document.body).backgroundColor")
    find("#theme").click()
    assert run("return getComputedStyle(document.body).backgroundColor") != ground
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    assert run("return document.documentElement.scrollWidth <= innerWidth")
    assert all(
        run(
            "return [...document.querySelectorAll('button, select')].filter(e => e.offsetParent)"
            ".map(e => e.offsetHeight >= 32)"
        )
    )

    # a finger on the picture
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    run("document.getElementById('stage').scrollIntoView({block: 'center', behavior: 'instant'})")
    box = run(
        "const b = document.getElementById('stage').getBoundingClientRect();return [b.left, b.top, b.width, b.height]"
    )
    point = lambda part: [{"x": box[0] + part * box[2], "y": box[1] + 0.5 * box[3]}]  # noqa: E731
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": point(0.3)})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": point(0.8)})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert abs(int(divider.get_attribute("aria-valuenow")) - 80) <= 1

    assert not elsewhere("file:")
    assert not [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
