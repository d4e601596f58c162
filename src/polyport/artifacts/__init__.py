"""Model data, from wherever it is, into a content-addressed cache of read-only folders.

`cache` is what others use; `local`, `s3` and `web` are where data comes from; `archives` unpacks what may be hostile
into a `tree`, which refuses whatever could leave it.
"""
