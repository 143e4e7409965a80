"""What `web.py` and `downloads.py` are made of: addresses, connections, pace per host, robots.txt, parts, secrets."""
