"""Serves a scikit-learn transformer: rows of features in, rows of fewer features out."""

import joblib
import numpy
import sklearn
from server import Rows, model_folder, serve


def main() -> None:
    """Load the model, then listen."""
    print(f"scikit-learn {sklearn.__version__}, numpy {numpy.__version__}", flush=True)
    transformer = joblib.load(model_folder() / "model.joblib")

    def transform(rows: Rows) -> Rows:
        result: Rows = transformer.transform(numpy.array(rows)).tolist()
        return result

    serve(transform)


if __name__ == "__main__":
    main()
