"""Traces of calls: what a gateway makes of a call that is traced, instead of a plain one."""
