"""The engine on the Docker API: Docker and Podman, rootful and rootless.

`daemon` finds it and `calls` talk to it; `asks` is what is asked of it. `keeper` leads one container's life, `output`
writes its log, `ends` sees its process end, `network` is what an instance's containers share, `engine` is the verbs.
"""
