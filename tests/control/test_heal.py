"""Who is replaced, by whom, and when: the pure part. `test_healing` shows it on a whole plane."""

import msgspec
from msgspec.structs import replace

from control.values import deployment, endpoint, fleet, new_id, new_ids, variant, wanted
from polyport.control import heal, plan
from polyport.control.limits import Limits
from polyport.control.plan import Seen
from polyport.domain.endpoints import Endpoint, EndpointState, InstanceRow, Status

NOW = 1000.0
WELL = Seen(present=True, healthy=True, routed=True, drained=False)
ILL = Seen(present=True, complaint="it does not answer", drained=False)
NEW = Seen()


class Case:
    """One endpoint in service, of one variant, whose instances fare as the test says."""

    def __init__(self, count: int, percent: int = 50) -> None:
        self.ids = new_ids(count)
        active = deployment(1, fleet(variant(instances=count), *self.ids))
        state = EndpointState(status=Status.IN_SERVICE, settled=1, active=active)
        self.row: Endpoint = endpoint(wanted(1, variant(instances=count)), state)
        self.seen = dict.fromkeys(self.ids, WELL)
        self.limits = Limits(replace_percent=percent)
        self.now = NOW
        self.decision: plan.Decision | None = None

    def step(self, **changes: Seen) -> plan.Decision:
        """Lets the planner decide, after these instances (by their number) have changed."""
        self.seen |= {self.ids[int(number[1:])]: seen for number, seen in changes.items()}
        self.decision = plan.plan(self.row, self.seen, {}, self.now, new_id, limits=self.limits)
        self.row = replace(self.row, state=self.decision.state)
        self.ids += [row.id for row in self.rows if row.id not in self.ids]
        return self.decision

    @property
    def rows(self) -> tuple[InstanceRow, ...]:
        return plan.instances(self.row.state.active)

    def numbers(self, rows: tuple[InstanceRow, ...]) -> list[int]:
        return [self.ids.index(row.id) for row in rows]

    @property
    def condemned(self) -> list[int]:
        return self.numbers(tuple(row for row in self.rows if row.condemned))


def test_an_ill_instance_is_replaced_beside_the_others() -> None:
    """Its successor is in the row before anything starts; it stays until that takes calls, and then it drains."""
    case = Case(2)
    decision = case.step(i1=ILL)
    assert case.condemned == [1]
    assert case.numbers(tuple(row for _, row in decision.apply)) == [2]
    assert case.row.status is Status.IN_SERVICE
    case.step(i2=replace(WELL, routed=False))
    assert case.condemned == [1]
    case.step(i2=WELL)
    assert case.numbers(case.rows) == [0, 2]
    assert case.numbers(case.row.state.retired) == [1]


def test_one_bad_moment_does_not_replace_all_at_once() -> None:
    """All of four are ill: two are replaced (setting `replace_percent`), the others wait for their turn."""
    case = Case(4)
    case.step(i0=ILL, i1=ILL, i2=ILL, i3=ILL)
    assert case.condemned == [0, 1]
    case.step()
    assert len(case.rows) == 6
    case.step(i4=WELL)
    # One successor is there: one of the two goes, and one more may be replaced.
    assert len(case.condemned) == 1
    case.step()
    assert len(case.condemned) == 2
    case.step(i5=WELL, i6=WELL)
    case.step()
    case.step(i7=WELL)
    case.step()
    assert case.numbers(case.rows) == [4, 5, 6, 7]
    assert case.condemned == []


def test_a_single_instance_is_replaced_beside_itself() -> None:
    """There is always one that may be replaced."""
    case = Case(1, percent=1)
    case.step(i0=ILL)
    assert case.condemned == [0]
    assert len(case.rows) == 2


def test_an_ill_one_that_waits_for_its_turn_gets_it_when_the_first_is_replaced() -> None:
    """Both of two are ill: that the second cannot serve does not hold up the end of the first."""
    case = Case(2)
    case.step(i0=ILL, i1=ILL)
    case.step(i2=WELL)
    assert case.numbers(case.rows) == [1, 2]
    case.step()
    assert case.condemned == [1]


def test_who_is_only_unhealthy_is_not_replaced() -> None:
    """Without a complaint or a failure it has still time, in place."""
    case = Case(2)
    case.step(i0=Seen(present=True))
    assert case.condemned == []


def test_one_that_is_not_there_is_started_again_as_it_is() -> None:
    """Another one would fare no better, and a reboot must not replace everything."""
    case = Case(2)
    decision = case.step(i0=Seen(failure="no space left", overdue=True))
    assert case.condemned == []
    assert case.numbers(tuple(row for _, row in decision.apply)) == [0]


def test_a_condemned_one_that_is_gone_is_not_started_again() -> None:
    """Its successor is under way; and an endpoint that waits for it alone has lost nothing."""
    case = Case(2)
    case.step(i0=ILL)
    decision = case.step(i0=NEW)
    assert case.numbers(tuple(row for _, row in decision.apply)) == [2]
    assert case.row.state.status is Status.IN_SERVICE


def test_a_loss_while_another_is_replaced_is_still_one() -> None:
    """The endpoint is SystemUpdating until the lost one is back; the condemned one does not hold it there."""
    case = Case(3)
    case.step(i0=ILL)
    case.step(i1=NEW)
    assert case.row.state.status is Status.SYSTEM_UPDATING
    case.step(i0=NEW, i1=WELL, i3=WELL)
    assert case.row.state.status is Status.IN_SERVICE
    case.step()
    assert case.numbers(case.rows) == [1, 2, 3]


def test_successors_that_fail_come_ever_more_slowly() -> None:
    """What is wrong with all of them is not cured by one more: 1, 5, 15, 30 minutes, and the planner says when."""
    case = Case(1)
    case.step(i0=ILL)
    failing = Seen(present=True, failure="exited with code 1")
    # The first one was old: its successor is not held responsible.
    assert [row.tries for row in case.rows] == [0, 0]
    case.step(i1=failing)
    for tries, patience in enumerate((60.0, 300.0, 900.0, 1800.0, 1800.0), start=1):
        latest = case.rows[-1]
        assert latest.tries == tries
        assert case.step(**{f"i{len(case.ids) - 1}": failing}).again_at == case.now + patience
        case.now += patience - 1
        case.step()
        assert case.rows[-1] == latest
        case.now += 1
        case.step()
        assert case.rows[-1] != latest
        assert len(case.rows) == 2


def test_one_that_lived_long_is_followed_by_a_quick_successor() -> None:
    """What went wrong before it is forgotten."""
    case = Case(1)
    case.step(i0=ILL)
    case.step(i1=Seen(present=True, failure="exited with code 1"))
    case.step(i2=WELL)
    assert [row.tries for row in case.rows] == [1]
    case.now += 700
    case.step(i2=ILL)
    assert [row.tries for row in case.rows] == [1, 0]


def test_a_condemned_one_that_got_well_takes_the_place_of_a_successor_that_failed() -> None:
    """Better the old one than yet another new one."""
    case = Case(1)
    case.step(i0=ILL)
    case.step(i0=WELL)
    assert case.condemned == [0]
    case.now += 2000
    case.step(i1=Seen(present=True, failure="exited with code 1"))
    case.step()
    assert case.numbers(case.rows) == [0]
    assert case.condemned == []
    assert case.rows[0].condemned_at == 0


def test_an_update_ends_the_replacing() -> None:
    """It starts new instances anyway: the fleet is as large as it was, the ill one goes, nobody stays condemned."""
    case = Case(2)
    case.step(i0=ILL)
    case.row = replace(case.row, generation=2, wanted=wanted(2, variant(instances=2)))
    case.step()
    assert case.row.state.pending is not None
    assert case.numbers(case.rows) == [1, 2]
    assert case.condemned == []
    assert case.numbers(case.row.state.retired) == [0]
    case.step(i1=ILL)
    assert case.condemned == []


def test_the_log_tells_who_is_replaced_and_why() -> None:
    """Once, when it is decided."""
    case = Case(1)
    before = case.row.state
    case.step(i0=ILL)
    line = f"instance {case.ids[0]} of variant A is to be replaced: it does not answer"
    assert list(heal.tell(before, case.row.state)) == [line]
    assert list(heal.tell(case.row.state, case.row.state)) == []


def test_rows_of_older_versions_have_nobody_condemned() -> None:
    """An upgrade finds rows without the new members."""
    old = msgspec.json.decode(b'{"id":"i-1","created_at":1.0,"variant":"A"}', type=InstanceRow)
    assert (old.condemned, old.condemned_at, old.tries) == ("", 0.0, 0)
