"""Images that Docker or Podman keeps: found by name, pulled, built, removed.

`library` is what others use. `pulls` fetches, with `keychain` for the registries' passwords; `faults` says in our words
what a daemon says in its own; `builds` makes an image from a folder: `context` packs what the daemon gets, `recipe` is
the Dockerfile, `wheels` are the packages, `probe` asks the base image which ones fit.
"""
