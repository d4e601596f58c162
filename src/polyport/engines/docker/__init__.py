"""The engine on the Docker API: Docker and Podman, rootful and rootless.

`daemon` finds it; `spec` says what is asked of it, `life` is what one container does next, `engine` the eight verbs.
"""
