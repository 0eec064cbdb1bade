from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('channels', '0002_charters'),
    ]

    operations = [
        migrations.AddField(
            model_name='message',
            name='signature',
            field=models.CharField(blank=True, default='', max_length=128),
            preserve_default=False,
        ),
    ]
