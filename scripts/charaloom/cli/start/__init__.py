"""What a person does before and after a run: `charaloom init` writes what a first run needs, `charaloom open` shows."""
