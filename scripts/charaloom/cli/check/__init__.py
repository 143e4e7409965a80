"""`charaloom check`: all that is wrong with a project, a base, a place or the machine, found before anything starts."""
