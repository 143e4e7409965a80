"""Files, tables and manifests as stages leave them; seeds."""
