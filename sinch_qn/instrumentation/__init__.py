"""What a client tells about its calls: to hooks, to the log, to OpenTelemetry."""
