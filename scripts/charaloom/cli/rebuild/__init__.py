"""`charaloom verify <repo>@<tag>`: train again from what is published, and compare byte by byte."""
