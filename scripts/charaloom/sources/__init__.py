"""Where pictures come from: boards, folders, and the store of downloads."""
