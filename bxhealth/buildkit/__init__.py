"""BuildKit's control API, `moby.buildkit.v1.Control`, over any stream that a driver gives."""
