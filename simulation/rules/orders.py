"""What control may order of its engine, and when a row may go."""

from typing import TYPE_CHECKING

from polyport.control import plan
from simulation.rules.facts import Order, Removal, need, wanted

if TYPE_CHECKING:
    pass


def a_row_goes_last(at: Removal) -> None:
    """A row is deleted only when it was asked for and no instance is left in it."""
    need(at.row.wanted.deleted, "nobody wanted it deleted")
    need(not plan.all_instances(at.row.state) or _is_done(at), "instances are left")


def _is_done(at: Removal) -> bool:
    return not plan.all_instances(at.world.store.rows[at.row.id].state)


def a_row_is_there_before_its_instance(at: Order) -> None:
    """Nothing is started but what a row wants at that moment."""
    need(at.instance in wanted(at.world), "%s is started, and no row wants it", at.instance)


def what_a_row_wants_is_not_stopped(at: Order) -> None:
    """Nothing is ended that a row wants."""
    need(at.instance not in wanted(at.world), "%s is ended, and a row wants it", at.instance)


def what_a_gateway_may_use_is_not_stopped(at: Order) -> None:
    """An instance is ended only when it is in no worker's table and no worker has a call in it."""
    need(
        not at.world.users_of(at.instance),
        "%s is ended, and %s may use it",
        at.instance,
        at.world.users_of(at.instance),
    )


REMOVAL = (a_row_goes_last,)
ORDER = (a_row_is_there_before_its_instance,)
ENDING = (what_a_row_wants_is_not_stopped, what_a_gateway_may_use_is_not_stopped)
ENDED = (what_a_gateway_may_use_is_not_stopped,)
