"""Rules that prove themselves: a mistake that no test finds, the shortest way to it, and the rules without it.

    python examples/verify_rules/prove.py

The shop's tests are in `test_parcels.py`; they pass with the mistake and without.
"""

from order_fsm.verify import CanAlwaysReach, Never, Requires, Undoes, prove
from rules import mended, with_parcels

CLAIMS = (
    Never(has={"cancelled", "dispatched"}),
    Requires("scan", has={"packed", "paid"}),
    Undoes("pack", by="unpack"),
    CanAlwaysReach(has={"dispatched", "paid"}),
)


def main() -> None:
    print("The rules as they were written:")
    print(prove(with_parcels(), *CLAIMS))
    print("\nThe rules as they were mended:")
    print(prove(mended(), *CLAIMS))


if __name__ == "__main__":
    main()
