"""Tags: vocabulary, merging, core tags, captions and their lint."""
