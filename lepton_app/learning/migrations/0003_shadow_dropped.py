from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("learning", "0002_runs_that_tune")]

    operations = [
        migrations.AddField(
            model_name="shadow",
            name="dropped",
            field=models.PositiveIntegerField(
                default=0,
                help_text="Texts that came while a serving process was too busy to compare.",
                verbose_name="not compared",
            ),
        ),
    ]
