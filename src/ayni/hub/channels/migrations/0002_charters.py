from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('channels', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='channel',
            name='charter',
            field=models.TextField(blank=True, default=''),
            preserve_default=False,
        ),
    ]
