"""What leaves the warehouse as flat files."""

from __future__ import annotations

import csv

import pytest

from recspark.errors import ConfigError
from recspark.runtime.published import write_flat

IDS = ["u", " u", "u ", '"u"', "u,1", "u\n2", "ü ☃", "007"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_ids_leave_as_they_are(spark, tmp_path, kind):
    place = str(tmp_path / f"flat.{kind}")
    write_flat(spark.createDataFrame([(one,) for one in IDS], "user_id string"), place, kind, overwrite=False)
    if kind == "csv":
        found = [
            row["user_id"]
            for part in (tmp_path / "flat.csv").glob("*.csv")
            for row in csv.DictReader(part.open(newline="", encoding="utf-8"))
        ]
    else:
        found = [row.user_id for row in spark.read.parquet(place).collect()]
    assert sorted(found) == sorted(IDS)


def test_what_is_there_is_kept_unless_said_otherwise(spark, tmp_path):
    place = str(tmp_path / "flat.csv")
    frame = spark.range(2)
    write_flat(frame, place, "csv", overwrite=False)
    with pytest.raises(ConfigError, match="--overwrite"):
        write_flat(frame, place, "csv", overwrite=False)
    write_flat(frame, place, "csv", overwrite=True)
