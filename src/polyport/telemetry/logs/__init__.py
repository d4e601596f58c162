"""What containers print, read from the files that engines write (`polyport.engines.logs`): CloudWatch's groups,
streams and events.

`places` says where the files are, `parts` reads one log over its rotated files, `search` merges several, `filters`
compiles filter patterns, `shelf` finds groups and streams, `retention` decides what is too old or too much.
"""
