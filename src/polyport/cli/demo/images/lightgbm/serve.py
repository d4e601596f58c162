"""Serves a LightGBM model: rows of features in, one probability per row out."""

import lightgbm
import numpy
from server import Rows, model_folder, serve


def main() -> None:
    """Load the model, then listen."""
    print(f"LightGBM {lightgbm.__version__}, numpy {numpy.__version__}", flush=True)
    booster = lightgbm.Booster(model_file=model_folder() / "model.txt")

    def predict(rows: Rows) -> Rows:
        result: Rows = [[probability] for probability in booster.predict(numpy.array(rows), num_threads=1).tolist()]
        return result

    serve(predict)


if __name__ == "__main__":
    main()
