"""The command line: one command a module; `main` finds them by their entry points."""
