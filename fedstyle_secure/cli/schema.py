"""`fedstyle-secure schema`: the policy file for editors and other programs.

Flows in: nothing. Flows out: a JSON Schema on stdout.
"""

from __future__ import annotations

import click

from fedstyle_secure.cli.console import print_json
from fedstyle_secure.policy import policy_json_schema

__all__ = ["schema"]


@click.command()
def schema() -> None:
    """Print the JSON Schema of the policy file.

    Draft 2020-12. Rules between keys, such as shares that add up to 1, cannot be said in it; every command
    that reads a policy checks those too.
    """
    print_json(policy_json_schema())
