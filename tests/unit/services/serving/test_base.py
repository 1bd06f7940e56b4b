import os
from pathlib import Path

import pytest

from policies.errors import LetheError
from policies.thresholds import FLOOR
from services.serving.base import base_directory, floor_of, serving_dtype
from services.settings import BaseModelSettings, FloorSettings, load_settings


def test_the_newest_base_of_the_home_is_taken(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    with pytest.raises(LetheError) as caught:
        base_directory(settings)
    assert caught.value.code == "base.not_found"
    for age, name in ((100, "old"), (10, "new"), (0, "unfinished")):
        directory = tmp_path / "bases" / name
        directory.mkdir(parents=True)
        if name != "unfinished":
            (directory / "config.json").write_text("{}")
        os.utime(directory, (1e9 - age, 1e9 - age))
    assert base_directory(settings).name == "new"
    with pytest.raises(LetheError):
        base_directory(load_settings(tmp_path, base=BaseModelSettings(path=str(tmp_path / "none"))))


def test_the_settings_can_name_the_dtype(tmp_path: Path) -> None:
    assert serving_dtype(load_settings(tmp_path, base=BaseModelSettings(dtype="bfloat16"))) == "bfloat16"
    assert serving_dtype(load_settings(tmp_path)) in {"float32", "bfloat16"}


def test_the_floor_of_the_settings_keeps_the_rest_of_the_built_in_one(tmp_path: Path) -> None:
    floor = floor_of(load_settings(tmp_path).serving.floor)
    assert floor.min_forget_probes == FLOOR.min_forget_probes
    assert floor.kfr_min == load_settings(tmp_path).serving.floor.kfr_min


def test_the_floor_of_the_settings_is_the_built_in_one(tmp_path: Path) -> None:
    assert floor_of(load_settings(tmp_path).serving.floor) == FLOOR
    assert floor_of(FloorSettings(attack_tier_min=1)).attack_tier_min == 1
