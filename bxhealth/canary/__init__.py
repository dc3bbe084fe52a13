"""The canary: a tiny program for each architecture, and the build that executes it."""
