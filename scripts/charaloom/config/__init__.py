"""The config, the roster, schemas, recipes and stages."""
