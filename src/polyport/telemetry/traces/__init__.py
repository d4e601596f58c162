"""Traces: the context that calls carry, which calls are traced, and the way of spans to a collector.

Only `otlp` imports OpenTelemetry, and only a worker that traces imports `otlp`.
"""
