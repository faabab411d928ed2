"""Tables, migrations, and the only code that moves a job from one state to another.

`db.database.Database` is all that others need; it takes and returns the plain values of `db.records`, so that nobody
outside this package ever holds a session or a live row.
"""
