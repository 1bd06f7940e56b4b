"""What clients reach: OpenAI's protocol on an allow-list of paths and body fields, in front of the engine."""
