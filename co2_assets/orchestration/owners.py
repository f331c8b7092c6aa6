"""Who answers for the assets in Dagster's UI."""

OWNERS = ["team:co2-platform"]
