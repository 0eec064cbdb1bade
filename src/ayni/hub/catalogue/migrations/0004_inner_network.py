from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalogue', '0003_volumes'),
    ]

    operations = [
        migrations.AddField(
            model_name='dataset',
            name='inner_network',
            field=models.BooleanField(default=False),
        ),
    ]
