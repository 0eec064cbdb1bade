"""The corpus at a site: documents out of files, what is held out, tokens in shards. No torch."""
