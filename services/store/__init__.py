"""The store: tables, engine, migrations and queries. Rows are dumb; behaviour is in functions that take a session.

Every function that takes a session runs in the caller's transaction: ``with store.write() as session: …`` commits all
of it or nothing. SQLite serves one host, PostgreSQL many; SQL that only one of them knows is in ``dialect`` alone.
"""
