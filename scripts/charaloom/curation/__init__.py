"""Which views are kept: rules, duplicates, identity, held-out pictures."""
