from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks", "0003_sites_orders"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("state", 2), ("tries__gt", 0)),
                fields=["group"],
                name="task_retries",
            ),
        ),
    ]
