"""Trains the second model, on the output of the first: the probability that a tumour is benign.

``python train.py OUT FIRST`` reads ``train.json`` and ``calls.json``, which the first model's training wrote into the
folder FIRST, and writes into the folder OUT:

- ``model/model.txt``: what goes into ``model.tar.gz``
- ``calls.json``: the first model's answers as requests, with the answers this process computes
- ``versions.json``: the libraries and their versions
"""

import json
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy

PARAMETERS = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.1,
    "seed": 7,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
ROUNDS = 80


def main(out: Path, first: Path) -> None:
    """Train, save, and compute the expected answers in this process."""
    train = read(first / "train.json")
    data = lightgbm.Dataset(numpy.array(train["rows"]), numpy.array(train["labels"]))
    booster = lightgbm.train(PARAMETERS, data, num_boost_round=ROUNDS)
    (out / "model").mkdir(parents=True)
    booster.save_model(out / "model" / "model.txt")
    requests = [call["answer"] for call in read(first / "calls.json")]
    calls = [{"rows": rows, "answer": booster.predict(numpy.array(rows)).reshape(-1, 1).tolist()} for rows in requests]
    write(out / "calls.json", calls)
    write(out / "versions.json", {"lightgbm": lightgbm.__version__, "numpy": numpy.__version__})


def read(path: Path) -> Any:
    """JSON, as the first model's training wrote it."""
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, value: object) -> None:
    """JSON prints each float so that it reads back as the same float."""
    path.write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
