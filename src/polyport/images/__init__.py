"""Process images: a folder with an `image.toml`, made into something an engine can start.

`registry` is what others use, with the values of `records`. `references` are the names, `manifest` is `image.toml`,
`places` the folders and their locks; `builds` makes one image: `content` copies and hashes its files, `environments`
has uv make its virtual environment, with the settings of `pip_settings`.
"""
