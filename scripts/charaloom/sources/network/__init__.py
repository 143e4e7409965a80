"""What `web.py` and `downloads.py` are made of: addresses, connections, the pace per host, robots.txt, parts, secrets."""
