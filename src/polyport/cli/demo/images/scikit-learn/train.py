"""Trains the first model: standardises the 30 measurements of each tumour and keeps 8 principal components.

``python train.py OUT`` writes into the folder OUT:

- ``model/model.joblib``: what goes into ``model.tar.gz``
- ``train.json``: the transformed training rows and their labels, for whoever trains on this model's output
- ``calls.json``: requests, as lists of rows of rows that were not trained on, with the answers this process computes
- ``versions.json``: the libraries and their versions
"""

import json
import sys
from pathlib import Path

import joblib
import numpy
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 7
SINGLE_ROWS = 8


def main(out: Path) -> None:
    """Train, save, and compute the expected answers in this process."""
    data = load_breast_cancer()
    train, test, labels, _ = train_test_split(data.data, data.target, test_size=0.25, random_state=SEED)
    transformer = make_pipeline(StandardScaler(), PCA(n_components=8, svd_solver="full", random_state=SEED)).fit(train)
    (out / "model").mkdir(parents=True)
    joblib.dump(transformer, out / "model" / "model.joblib")
    write(out / "train.json", {"rows": transformer.transform(train).tolist(), "labels": labels.tolist()})
    # A matrix product may round differently for another number of rows: each request is computed as it will be sent.
    requests = [*numpy.split(test[:SINGLE_ROWS], SINGLE_ROWS), test]
    calls = [{"rows": rows.tolist(), "answer": transformer.transform(rows).tolist()} for rows in requests]
    write(out / "calls.json", calls)
    write(out / "versions.json", {"scikit-learn": sklearn.__version__, "numpy": numpy.__version__})


def write(path: Path, value: object) -> None:
    """JSON prints each float so that it reads back as the same float."""
    path.write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
