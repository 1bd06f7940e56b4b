"""The console: pages for the people who decide, made on the server; they call the same functions as the API."""
