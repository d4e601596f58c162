# mypy: ignore-errors
"""Runs in LitServe's environment: an API that answers what it was asked."""

import sys

import litserve


class Echo(litserve.LitAPI):
    """JSON in, JSON out."""

    def setup(self, device):
        """Nothing to load."""

    def predict(self, x):
        """The model."""
        return x


if __name__ == "__main__":
    server = litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=1, disable_openapi_url=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
