"""Pictures: decoding strangers' files, boxes, comparing drawings."""
