"""What lies in the files of base models, read without torch: headers, kinds, architectures, layouts, digests."""
