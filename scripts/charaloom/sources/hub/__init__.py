"""Sources on a model hub: published datasets, and mirrors of boards."""
