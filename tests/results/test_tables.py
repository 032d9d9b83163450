import json

import pytest

from dataset.errors import InputError, shown
from dataset.files import write_csv
from results import complexity, readme, tables
from results.measure import NETWORKS
from results.table import plain


def entry(name, scale, label, psnr, ssim, bicubic=30.0):
    return {
        "set": name,
        "scale": scale,
        "label": label,
        "protocol": "published",
        "pictures": {
            "a": {"psnr": psnr - 1, "ssim": ssim, "bicubic_psnr": bicubic, "bicubic_ssim": 0.8},
            "b": {"psnr": psnr + 1, "ssim": ssim, "bicubic_psnr": bicubic, "bicubic_ssim": 0.8},
        },
    }


def test_difference_is_between_printed_digits():
    table = tables.benchmark("Set5", [entry("Set5", 2, "LESRCNN", 37.654, 0.95864)], "published")
    rows = {row.cells[0]: table.texts(row) for row in table.rows}
    assert rows["LESRCNN (ours)"][1:3] == ["37.65", "0.9586"]
    assert rows["- difference to the paper's LESRCNN"][1:] == ["+0.00", "+0.0000", "-", "-", "-", "-"]
    assert rows["Bicubic (ours)"][1] == "30.00" and rows["- difference to the paper's Bicubic"][1] == "-3.66"
    assert rows["VDSR"][1] == "37.53" and len(table.rows) == 24 + 4
    assert "LESRCNN-S (ours)" not in rows


def test_networks_for_luma_have_a_row_of_their_own_protocol():
    entries = [entry("Set5", 2, "VDSR", 37.5, 0.95, bicubic=30 + more) for more in (3, 0)]
    entries[0]["protocol"] = "luma"
    table = tables.benchmark("Set5", entries, "published")
    rows = {row.cells[0]: table.texts(row)[1] for row in table.rows[-4:]}
    assert list(rows) == ["- difference to the paper's Bicubic", "VDSR (ours)", "VDSR (ours, luma)"] + [
        "- difference to the paper's VDSR"
    ]
    assert "Bicubic (ours)" in table.rows[-5].cells and table.texts(table.rows[-5])[1] == "30.00"
    assert "luma protocol" in table.notes[-1]


@pytest.mark.parametrize("name, count", [("Set5", 24), ("Set14", 24), ("B100", 22), ("Urban100", 20)])
def test_all_rows_of_the_paper_without_measurement(name, count):
    table = tables.benchmark(name, [], "published")
    assert len(table.rows) == count == len({row.cells[0] for row in table.rows})
    assert "was not measured" in table.notes[0]


def test_sample_has_no_paper_rows():
    measured = entry("Sample", 2, "LESRCNN-S", 33, 0.9) | {"protocol": "modern"}
    table = tables.benchmark("Sample", [measured], "modern")
    assert [row.kind for row in table.rows] == ["ours", "ours"] and table.name == "sample"
    assert "modern protocol" in table.notes[0]


def test_headline_and_readme():
    entries = [entry("Set5", 2, "LESRCNN", 37.2, 0.95), entry("Sample", 4, "LESRCNN-S", 30.1, 0.9)]
    text = readme.results_section(entries, "published")
    assert "| Set5 | x2 | 30.00/0.8000 | **37.20/0.9500** | 37.65/0.9586 | - | 37.57/0.9582 |" in text
    assert "| Sample | x4 | 30.00/0.8000 | - | - | **30.10/0.9000** | - |" in text


# -- complexity: the counts of the paper's Tables 3 and 9 -------------------------------------------


@pytest.mark.parametrize(
    "name, paper_parameters, parameters, without_up, macs",
    [
        ("SN", 630_144, 740_992, 2.451, 3.055),
        ("HN", 368_000, 478_848, 1.378, 1.982),
        ("IEEB", 368_000, 478_848, 1.378, 1.982),
        ("IEEB+RB", 368_000, 478_848, 1.378, 1.982),
        ("LESRCNN", 515_456, 626_304, 3.793, 4.397),
    ],
)
def test_counts(name, paper_parameters, parameters, without_up, macs):
    network, options = NETWORKS[name]
    count = complexity.count(network, 2, 64, **options)
    assert (count.paper_parameters, count.parameters) == (paper_parameters, parameters)
    assert count.macs_without_up / 1e9 == pytest.approx(without_up, abs=5e-4)
    assert count.macs / 1e9 == pytest.approx(macs, abs=5e-4)


def test_counted_by_hand():
    per_lr_pixel = 3 * 64 * 9 + 8 * (64 * 64 * 9 + 64 * 64) + 64 * 256 * 9
    per_hr_pixel = 4 * 64 * 64 * 9 + 64 * 3 * 9
    assert complexity.count("lesrcnn", 2, 64).macs == per_lr_pixel * 64**2 + per_hr_pixel * 128**2


def test_complexity_tables():
    table = tables.complexity(3)
    rows = {row.cells[0]: table.texts(row) for row in table.rows}
    assert rows["SN"][1:4] == ["630K", "3.06G", "630,144"] and rows["SN"][6] == "3.06G"
    assert rows["HN"][1:5] == ["368K", "1.38G", "368,000", "1.38G"]
    rows = {row.cells[0]: row for row in tables.complexity(9).rows}
    assert None not in rows["LESRCNN"].cells and rows["VDSR"].cells[3:] == (None,) * 4
    assert "| DRCN | 1774K | 29.07G | - |" in tables.complexity(9).markdown()
    assert "| LESRCNN | 516K | 3.08G | **515,456** | **3.79G** |" in tables.complexity(9).markdown()
    zoo = {row.cells[:2]: row.cells for row in tables.complexity_by_scale().rows}
    assert f"{zoo['LESRCNN', 'x2'][3]:.3f} {zoo['LESRCNN', 'x4'][3]:.3f}" == "0.626 0.774"
    assert zoo["LESRCNN-S", "x3"][2] == 1_254_080


# -- Tables 2 and 8 --------------------------------------------------------------------------------


def test_runtime_tables(tmp_path):
    lines = ["scale,size,width,height,form,precision,tiles,seconds,device,torch"]
    for side in (256, 512, 1024):
        for form in ("published,fp32", "ours,bf16", '"ours, in pieces",bf16'):
            lines += [f"{scale},{side},{side},{side},{form},1,{side / 1000},A CPU,2.15.0" for scale in (2, 4)]
    lines.append("2,1080p,1920,1080,published,fp32,1,,A CPU,2.15.0")
    (tmp_path / "benchmark.csv").write_text("\n".join(lines))
    table = tables.runtime(8, tmp_path)
    rows = [table.texts(row) for row in table.rows]
    assert rows[3:] == [
        ["LESRCNN", "the paper's machine", "0.0102", "0.0129", "0.0222"],
        ["LESRCNN, published, fp32", "A CPU, torch 2.15.0", "0.256", "0.512", "1.02"],
        ["LESRCNN, ours, bf16", "A CPU, torch 2.15.0", "0.256", "0.512", "1.02"],
    ]
    assert "Not measured" in tables.runtime(2, tmp_path).notes[1] and len(table.notes) == 1
    (tmp_path / "benchmark.csv").write_text("form,width\npublished,1\n")
    with pytest.raises(InputError, match="is damaged"):
        tables.runtime(8, tmp_path)


# -- Table 1 ---------------------------------------------------------------------------------------


def trained(**psnr):
    return {
        "set": "Set5",
        "scale": 4,
        "protocol": "published",
        "hardware": {"device": "the CPU (2 threads)"},
        "budget": {"max_steps": 5000, "batch_size": 8, "patch_size": 24, "loss_fn": "L1"},
        "networks": [
            {"network": name.replace("_", "+"), "psnr": value, "ssim": 0.88, "steps": 5000, "hours": 0.5}
            for name, value in psnr.items()
        ],
    }


def test_ablation_table(tmp_path):
    path = tmp_path / "ablation.json"
    path.write_text(json.dumps(trained(SN=30.1, HN=30.0, IEEB=30.3, IEEB_RB=30.2, LESRCNN=30.5)))
    table = tables.ablation(path)
    rows = [table.texts(row) for row in table.rows]
    assert rows[0] == ["SN", "31.64", "0.8864", "0.24", "30.10", "0.8800", "0.40"]
    assert [row[0] for row in rows] == ["SN", "HN", "IEEB", "IEEB+RB", "LESRCNN"]
    notes = " ".join(table.notes)
    assert "5,000 steps of 8 patches of 24x24" in notes and "2.5 hours" in notes
    assert "ours is HN < SN < IEEB+RB < IEEB < LESRCNN" in notes


def test_an_ablation_on_a_set_of_any_name(tmp_path, name):
    content = trained(SN=30.1, HN=30.0, IEEB=30.3, IEEB_RB=30.2, LESRCNN=30.5)
    content |= {"set": name, "hardware": {"device": name}}
    (tmp_path / "ablation.json").write_text(json.dumps(content))
    table = tables.ablation(tmp_path / "ablation.json")
    assert plain(name) in table.title and f"on {plain(name)}. " in table.notes[0] and "`" not in table.notes[0]
    assert len(table.markdown().splitlines()) == 4 + 5 + 1 + 3


def test_a_machine_of_any_name(tmp_path, name):
    row = {"scale": 2, "width": 256, "height": 256, "form": "ours", "precision": "fp32", "seconds": 0.25}
    write_csv(tmp_path / "benchmark.csv", [row | {"device": name, "torch": "2.1"}])
    table = tables.runtime(8, tmp_path)
    [(form, machine, seconds, *_)] = [table.texts(row) for row in table.rows if row.kind == "ours"]
    assert form == "LESRCNN, ours, fp32" and shown(name) in machine and seconds == "0.25"


def test_ablation_not_trained_or_damaged(tmp_path):
    table = tables.ablation(tmp_path / "ablation.json")
    assert {row.cells[4:] for row in table.rows} == {(None,) * 3} and "Not trained" in table.notes[0]
    (tmp_path / "ablation.json").write_text("[]")
    with pytest.raises(InputError, match="is damaged"):
        tables.ablation(tmp_path / "ablation.json")
