"""The inside of the HTTP client: addresses, connections, the pace per host, robots.txt, parts of files, secrets."""
