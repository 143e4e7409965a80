"""What `sources.web` is made of: addresses, connections, the pace per host, robots.txt, secrets."""
