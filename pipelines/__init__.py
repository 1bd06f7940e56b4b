"""From a forget set to a verified adapter. Knows torch and data; knows no HTTP server and no database."""
