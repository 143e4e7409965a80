"""What the `charaloom` command does, one module per subcommand."""
