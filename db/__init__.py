"""Tables, migrations, and the only code that moves a job from one state to another."""
