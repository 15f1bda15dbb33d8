"""The process and the command line: settings, Temporal plugin, entry points."""
