"""A prefix of names is a range of an index only where names sort by their bytes.

SQLite sorts so; PostgreSQL sorts by the database's locale unless the column says otherwise.
"""

from django.db import migrations


def by_bytes(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            'ALTER TABLE tasks_task ALTER COLUMN name TYPE varchar(256) COLLATE "C"'
        )


class Migration(migrations.Migration):
    dependencies = [("tasks", "0001_initial")]
    operations = [migrations.RunPython(by_bytes, migrations.RunPython.noop)]
