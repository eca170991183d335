"""Each test of the store contract fails for a store with the fault that the test detects."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from order_fsm.errors import OrderFsmError
from order_fsm.store import Store
from order_fsm.testing import StoreContract
from order_fsm.testing.store_contract import contention, crews
from order_fsm.testing.store_contract.calls import Calls, Failing
from order_fsm.testing.store_contract.crews import Processes, Threads
from order_fsm.testing.store_contract.failures import Failures
from order_fsm.testing.store_contract.limits import FewBlocks, FewFiles, NoPermission, ReadOnlyMount, SmallFiles
from order_fsm_adapters.memory import MemoryStore

from . import (
    log_store,
    weak_calls,
    weak_commits,
    weak_erasures,
    weak_limits,
    weak_outboxes,
    weak_reads,
    weak_stock,
)

IN_MEMORY: list[tuple[Callable[[], MemoryStore], str]] = [
    (weak_commits.ForgetsTheSecondMove, "s1_a_commit_is_stored_whole"),
    (weak_commits.StopsAtARefusal, "s1_each_change_of_a_group_is_whole_or_absent"),
    (weak_commits.WritesTheKeyFirst, "s1_a_version_conflict_leaves_nothing"),
    (weak_commits.MovesStockFirst, "s1_a_reused_key_leaves_nothing"),
    (weak_commits.MovesStockFirst, "s1_a_shortage_on_the_second_move_leaves_nothing"),
    (weak_commits.OverwritesOrders, "s1_an_existing_order_is_not_created_again"),
    (weak_commits.MakesMissingOrders, "s1_a_change_of_a_missing_order_creates_nothing"),
    (weak_commits.WritesMessagesLast, "s1_an_unwritable_value_leaves_nothing"),
    (weak_commits.MovesStockFirst, "s1_workers_on_different_orders_do_not_disturb_each_other"),
    (weak_commits.RemovesNoMessages, "s1_a_removal_deletes_the_whole_order"),
    (weak_commits.RemovesNoKeys, "s1_a_removal_deletes_the_whole_order"),
    (weak_commits.GivesStockBack, "s1_a_removal_deletes_the_whole_order"),
    (weak_commits.RemovesNoDeadLetters, "s1_the_dead_letters_of_a_removed_order_are_gone"),
    (weak_erasures.ErasesNothing, "s1_an_erasure_blanks_the_past_of_one_order"),
    (weak_erasures.ErasesWhatComesWithIt, "s1_an_erasure_keeps_values_written_with_it_and_after_it"),
    (weak_erasures.ErasesAtTheEnd, "s1_an_erasure_among_changes_committed_together"),
    (weak_erasures.ErasesFirst, "s2_an_erasure_from_another_version_blanks_nothing"),
    (weak_erasures.KeepsFingerprints, "s4_an_erasure_blanks_the_fingerprints_of_personal_requests"),
    (weak_erasures.BlanksAllFingerprints, "s4_an_erasure_blanks_the_fingerprints_of_personal_requests"),
    (weak_erasures.ForgetsThatItErased, "s7_an_erased_entry_is_returned_unchanged"),
    (weak_erasures.KeepsDeadLetters, "s9_an_erasure_blanks_messages_and_dead_letters"),
    (weak_erasures.NarrowsTheClaimedMessage, "s9_an_erasure_blanks_messages_and_dead_letters"),
    (weak_erasures.FindsErasedCustomers, "s10_an_erased_customer_is_not_found"),
    (weak_erasures.ScrubsDeadLetters, "s12_a_scrub_changes_no_content"),
    (weak_commits.ChecksNoVersion, "s2_one_of_two_commits_from_a_version_wins"),
    (weak_commits.TakesVersionsAhead, "s2_a_version_ahead_of_the_order_is_a_conflict"),
    (weak_commits.ChecksTheVersionOutsideTheLock, "s2_every_version_has_one_winner"),
    (weak_commits.OverwritesOrders, "s2_an_order_is_created_once"),
    (weak_commits.RemovesAnyVersion, "s2_a_removal_from_another_version_removes_nothing"),
    (weak_commits.RemovesWhatIsMissing, "s2_a_missing_order_cannot_be_removed"),
    (weak_commits.ChecksARemovalOutsideTheLock, "s2_one_removal_or_commit_from_a_version_wins"),
    (weak_commits.KnowsNotWhichEntriesAKeyMade, "s4_a_key_has_the_record_of_its_commit"),
    (weak_commits.KeepsKeysPerOrder, "s4_a_key_commits_once"),
    (weak_commits.Folding, "s4_similar_keys_are_different"),
    (weak_commits.ChecksTheKeyOutsideTheLock, "s4_one_key_commits_once_on_different_orders"),
    (weak_commits.ForgetsKeys, "s4_one_key_commits_once_on_one_order"),
    (weak_commits.ForgetsKeys, "s4_a_redelivery_returns_the_first_receipt"),
    (weak_commits.KnowsNotWhichEntriesAKeyMade, "s4_a_redelivery_returns_the_first_receipt"),
    (weak_commits.RemovesNoKeys, "s4_the_id_and_the_keys_of_a_removed_order_are_free"),
    (weak_commits.RemovesNoHistory, "s4_the_id_and_the_keys_of_a_removed_order_are_free"),
    (weak_commits.KeepsTheLastEntryOnly, "s5_versions_are_dense_from_one"),
    (weak_commits.LimitsCreations, "s5_an_order_may_be_created_with_many_entries"),
    (weak_commits.ChecksVersionsOfAGroupAtOnce, "s1_changes_of_one_order_in_a_group_build_on_each_other"),
    (weak_commits.ForgetsRefusedChanges, "s2_changes_that_build_on_a_refused_one_are_conflicts"),
    (weak_commits.ChecksAGroupAtOnce, "s8_a_strict_move_counts_earlier_moves_of_its_group"),
    (weak_commits.ChecksKeysOfAGroupAtOnce, "s4_a_key_used_twice_in_one_group_commits_once"),
    (weak_commits.ChecksKeysOfOrdersOnly, "s4_a_key_without_an_order_commits_once"),
    (weak_commits.KeepsKeysPerOrder, "s4_a_key_without_an_order_commits_once"),
    (weak_commits.RemovesKeysWithoutAnOrder, "s4_a_key_without_an_order_survives_removals"),
    (weak_commits.AnswersInItsOwnSequence, "s7_prepare_many_returns_a_snapshot_for_every_need"),
    (weak_commits.ForgetsExtraItems, "s7_prepare_many_returns_a_snapshot_for_every_need"),
    (weak_commits.CachesSnapshots, "s2_prepare_many_shows_the_last_commit"),
    (weak_commits.CachesOrders, "s2_prepare_many_shows_the_last_commit"),
    (weak_reads.StaysOpen, "s3_a_closed_store_raises_store_unavailable"),
    (weak_reads.StaysOpen, "s3_a_store_is_closed_at_the_end_of_its_block"),
    (weak_reads.ListsWhileOrdersChange, "s10_listings_are_complete_while_orders_change"),
    (weak_reads.ListsPageByPage, "s10_listings_are_complete_while_orders_change"),
    (weak_reads.ShipsEverythingFromStock, "s7_shipments_are_returned_unchanged"),
    (weak_commits.ForgetsAShipment, "s7_shipments_are_returned_unchanged"),
    (weak_reads.TakesNothingReservedForNone, "s7_reserved_pieces_are_returned_unchanged"),
    (weak_reads.ForgetsTheRules, "s7_the_fingerprint_of_the_rules_is_returned_unchanged"),
    (weak_commits.ChecksTheVersionOutsideTheLock, "s5_versions_are_dense_when_many_commit"),
    (weak_reads.GivesItsOwnList, "s6_changing_returned_values_does_not_change_the_store"),
    (weak_reads.ForgetsAFlag, "s7_a_flag_is_returned_unchanged"),
    (weak_reads.LosesMicroseconds, "s7_any_change_is_returned_unchanged"),
    (weak_reads.LosesZeros, "s7_every_amount_is_returned_unchanged"),
    (weak_reads.MakesFactsText, "s7_every_fact_is_returned_unchanged"),
    (weak_commits.Folding, "s7_every_id_is_a_different_order"),
    (weak_commits.FoldingLetters, "s7_every_id_is_a_different_order"),
    (weak_commits.FoldingBlanks, "s7_every_id_is_a_different_order"),
    (weak_reads.LosesMicroseconds, "s7_every_moment_is_returned_unchanged"),
    (weak_reads.TrimsNames, "s7_every_name_is_returned_unchanged"),
    (weak_reads.TranslatesLineEnds, "s7_every_text_is_returned_unchanged"),
    (weak_reads.TakesEmptyForNone, "s7_nested_data_is_returned_unchanged"),
    (weak_reads.CutsLongComments, "s7_the_longest_values_are_returned_unchanged"),
    (weak_commits.ShowsNothingBelowZero, "s8_a_move_that_is_not_strict_may_go_below_zero"),
    (weak_commits.ChecksNoStock, "s8_a_strict_move_stops_at_zero"),
    (weak_commits.KnowsEveryItem, "s8_an_item_is_tracked_after_it_is_set"),
    (weak_commits.TracksEveryItem, "s8_returning_an_untracked_item_adds_no_available_piece"),
    (weak_commits.PassesOverUntrackedItems, "s8_a_move_that_takes_from_an_untracked_item_conflicts"),
    (weak_commits.Folding, "s8_similar_skus_are_different"),
    (weak_commits.CountsInFloats, "s8_large_numbers_stay_exact"),
    (weak_stock.CountsAvailablePiecesAlone, "s8_a_commit_moves_every_number_of_an_item"),
    (weak_stock.AddsMovesUp, "s8_the_moves_of_a_commit_are_applied_in_sequence"),
    (weak_stock.ForgetsUntrackedItems, "s8_an_item_keeps_its_other_numbers_while_untracked"),
    (weak_stock.ReplacesAnyNumber, "s8_an_unexpected_stock_number_is_not_replaced"),
    (weak_stock.TakesZeroForNotGiven, "s8_an_unexpected_stock_number_is_not_replaced"),
    (weak_stock.ComparesNumbersOutsideTheLock, "s8_an_expected_stock_number_is_replaced_once"),
    (weak_stock.NamesNoBackorders, "s8_a_snapshot_names_the_items_that_may_be_back_ordered"),
    (weak_stock.ForgetsBackordersWhenSet, "s8_a_snapshot_names_the_items_that_may_be_back_ordered"),
    (weak_stock.ListsTrackedItemsAlone, "s8_every_item_is_listed_once"),
    (weak_commits.MovesStockFirst, "s8_the_pieces_of_an_item_are_constant"),
    (weak_stock.CountsAvailablePiecesAlone, "s8_the_pieces_of_an_item_are_constant"),
    (weak_commits.MovesStockFirst, "s8_moves_of_several_items_do_not_deadlock"),
    (weak_commits.ChecksStockOutsideTheLock, "s8_the_last_pieces_are_taken_once"),
    (weak_commits.ForgetsLaterMessages, "s9_a_message_is_stored_with_its_commit"),
    (weak_commits.WritesMessagesFirst, "s9_a_commit_that_raises_leaves_no_message"),
    (weak_outboxes.GivesOrderByOrder, "s9_the_oldest_messages_are_claimed_first"),
    (weak_outboxes.SortsById, "s9_messages_of_an_order_keep_the_sequence_of_their_commits"),
    (weak_outboxes.SortsByTime, "s9_messages_of_an_order_keep_the_sequence_of_their_commits"),
    (weak_outboxes.KnowsNoLeases, "s9_a_leased_message_is_not_claimed_before_its_lease_ends"),
    (weak_outboxes.ClaimsMessageByMessage, "s9_later_messages_of_an_order_wait_for_the_first"),
    (weak_outboxes.ClaimsWholeOrders, "s9_later_messages_of_an_order_wait_for_the_first"),
    (weak_outboxes.ClaimsMessageByMessage, "s9_new_messages_wait_for_a_leased_one"),
    (weak_outboxes.KeepsDeliveredMessages, "s9_a_delivered_message_is_gone"),
    (weak_outboxes.DropsTheRest, "s9_a_delivered_message_is_gone"),
    (weak_outboxes.WaitsForNoTime, "s9_a_failed_delivery_is_retried_later"),
    (weak_outboxes.CountsNoAttempts, "s9_a_failed_delivery_is_retried_later"),
    (weak_outboxes.KeepsTheLease, "s9_a_returned_message_may_be_due_at_once"),
    (weak_outboxes.GivesPostponedFirst, "s9_new_messages_are_claimed_before_postponed_ones"),
    (weak_outboxes.ObeysLateRelays, "s9_a_late_relay_changes_nothing_after_another_lease"),
    (weak_outboxes.ForgetsEndedLeases, "s9_a_late_relay_may_still_deliver_if_no_other_leased_the_message"),
    (weak_outboxes.ObeysLateRelays, "s9_a_late_relay_does_not_change_a_new_order_of_the_same_id"),
    (weak_outboxes.TakesAnyLeaseForNew, "s9_a_late_relay_does_not_change_a_new_order_of_the_same_id"),
    (weak_outboxes.BringsBackDeliveredMessages, "s9_a_deleted_message_does_not_return"),
    (weak_outboxes.DropsDeadLetters, "s9_a_dead_letter_is_kept_and_not_claimed"),
    (weak_outboxes.WaitsForDeadLetters, "s9_a_dead_letter_blocks_no_other_message"),
    (weak_outboxes.KnowsNoRemaining, "s9_a_message_with_remaining_recipients_blocks_no_other_message"),
    (weak_outboxes.ForgetsRemainingOfDeadLetters, "s9_a_dead_letter_keeps_its_remaining_recipients"),
    (weak_outboxes.NarrowsForLateRelays, "s9_a_late_relay_does_not_change_the_remaining_recipients"),
    (weak_outboxes.RemovesQueuedMessagesOnly, "s9_removing_an_order_removes_messages_with_remaining_recipients"),
    (weak_outboxes.ListsAsGivenUp, "s9_dead_letters_are_listed_oldest_first"),
    (weak_outboxes.KeepsAttempts, "s9_a_requeued_dead_letter_starts_again"),
    (weak_outboxes.RequeuesAtTheFront, "s9_a_requeued_dead_letter_waits_for_its_order"),
    (weak_outboxes.RequeuesAnything, "s9_a_deleted_message_does_not_return"),
    (weak_outboxes.RequeuesWithItsLease, "s9_a_requeued_dead_letter_has_no_lease"),
    (weak_outboxes.ClaimsInTwoSteps, "s9_a_message_is_held_by_one_relay_at_a_time"),
    (weak_reads.MatchesPartsOfNames, "s10_find_agrees_with_the_orders"),
    (weak_reads.CountsForTheFirstCustomer, "s10_an_amended_order_is_found_and_counted_as_amended"),
    (weak_reads.FindsPartsByState, "s10_find_agrees_with_the_orders"),
    (weak_reads.FindsPartsByState, "s10_a_partly_shipped_order_is_found"),
    (weak_reads.FindsAllOfAnInterval, "s10_a_partly_shipped_order_is_found"),
    (weak_reads.CountsNoParts, "s10_a_partly_shipped_order_is_found"),
    (weak_reads.CountsNoParts, "s10_tally_agrees_with_the_orders"),
    (weak_reads.LeadsToOneOrder, "s10_a_payment_reference_finds_its_orders"),
    (weak_reads.ContinuesAfterAMoment, "s10_pages_give_every_order_once"),
    (weak_reads.ContinuesAfterAMatchOnly, "s10_a_page_continues_after_an_order_that_no_longer_matches"),
    (weak_reads.ContinuesAfterPresentOrdersOnly, "s10_a_page_continues_after_an_order_that_was_removed"),
    (weak_reads.SortsByTimeAlone, "s10_orders_of_one_moment_are_sorted_by_id"),
    (weak_reads.CountsOnce, "s10_an_order_is_found_by_its_current_state"),
    (weak_reads.FindsRemovedOrders, "s10_a_removed_order_is_not_found"),
    (weak_reads.CountsNoRefunds, "s10_tally_agrees_with_the_orders"),
    (weak_reads.ForgetsToUnplace, "s7_the_time_of_placing_is_returned_unchanged"),
    (weak_reads.FindsUntilTheEnd, "s10_find_in_an_interval_agrees_with_the_orders"),
    (weak_reads.ReportsAllCredits, "s10_totals_and_report_of_an_interval_agree_with_the_orders"),
    (weak_reads.ContinuesByCreation, "s10_pages_of_an_interval_give_every_order_once"),
    (weak_reads.CountsCancelledOrders, "s10_totals_and_report_of_an_interval_agree_with_the_orders"),
    (weak_reads.ReportsInTwoSteps, "s10_a_report_is_a_snapshot"),
    (weak_reads.SkipsTheEntryAfter, "s5_pages_of_a_history_give_every_entry_once"),
    (weak_reads.CountsOneStateAfterTheOther, "s10_reads_show_every_order_once_while_orders_change"),
    (weak_commits.ForgetsKeys, "s4_contention_for_a_key_applies_one_change"),
    (weak_commits.KnowsNotWhichEntriesAKeyMade, "s4_contention_for_a_key_applies_one_change"),
    (weak_commits.ChecksTheVersionOutsideTheLock, "s5_contention_loses_no_change_and_starves_no_worker"),
    (weak_commits.ChecksTheVersionOutsideTheLock, "s8_contention_of_cancel_and_pay_returns_stock_once"),
    (weak_commits.MovesStockFirst, "s8_contention_of_cancel_and_pay_returns_stock_once"),
]
"""Faults, each with the test that detects it."""

ON_DISK: list[tuple[Callable[[Path], log_store.LogStore], str]] = [
    (log_store.AnswersBeforeWriting, "s3_a_killed_process_loses_nothing"),
    (log_store.WritesInTwoSteps, "s3_a_killed_process_loses_nothing"),
    (log_store.AnswersBeforeWriting, "s3_killed_workers_lose_nothing"),
    (log_store.LocksNothing, "s3_killed_workers_lose_nothing"),
    (log_store.RewritesTheLogAsItOpens, "s3_a_process_killed_while_opening_loses_nothing"),
    (log_store.ForgetsDeliveries, "s9_a_killed_relay_loses_no_message"),
    (log_store.ForgetsDeadLetters, "s9_a_killed_relay_loses_no_message"),
    (log_store.ForgetsClaims, "s3_all_content_outlives_the_store"),
    (log_store.ForgetsDeadLetters, "s3_dead_letters_and_removals_outlive_the_store"),
    (log_store.RemovesInTwoSteps, "s1_a_killed_process_leaves_an_order_whole_or_removed"),
    (weak_erasures.ForgetsErasures, "s3_an_erasure_outlives_the_store"),
    (weak_erasures.ErasesInTwoSteps, "s1_a_killed_process_leaves_an_order_whole_or_erased"),
    (log_store.LogStore, "s12_no_byte_of_an_erased_value_is_left"),
    (log_store.ReadsOnce, "s3_another_store_sees_a_commit_at_once"),
    (log_store.ReadsOnce, "s3_another_process_sees_a_commit_at_once"),
    (log_store.LocksNothing, "s2_every_version_has_one_winner"),
    (log_store.GivesUpAtALock, "s4_contention_for_a_key_applies_one_change"),
    (log_store.GivesUpAtALock, "s8_contention_of_cancel_and_pay_returns_stock_once"),
    (log_store.KeepsTheLock, "s5_contention_loses_no_change_and_starves_no_worker"),
]
"""Faults with several processes."""


CALLING: list[tuple[type[weak_calls.RemoteStore], str]] = [
    (weak_calls.WritesTheKeyLast, "s4_a_creation_with_failing_calls_is_committed_once"),
    (weak_calls.SwallowsErrors, "s4_a_creation_with_failing_calls_is_committed_once"),
    (weak_calls.MovesStockByItself, "s4_a_payment_with_failing_calls_is_committed_once"),
    (weak_calls.WritesTheKeyLast, "s4_a_form_with_failing_calls_is_saved_once"),
    (weak_calls.GivesRawErrors, "s1_a_refused_commit_with_failing_calls_leaves_nothing"),
    (weak_calls.SwallowsErrors, "s8_a_stock_setting_with_failing_calls_is_whole"),
    (weak_calls.AddsLast, "s9_a_relay_with_failing_calls_loses_no_message"),
    (weak_calls.RemovesMessagesByItself, "s1_a_removal_with_failing_calls_is_whole"),
    (weak_erasures.ErasesByItself, "s1_an_erasure_with_failing_calls_is_whole"),
    (weak_calls.SwallowsErrors, "s10_a_read_with_failing_calls_is_right_or_raises"),
    (weak_calls.GivesRawErrors, "s3_an_opening_with_failing_calls_does_no_harm"),
]
"""Faults with failing calls."""

LIMITED: list[tuple[type[log_store.LogStore], str, object]] = [
    (weak_limits.SwallowsErrors, "s1_a_change_on_a_full_disk_is_absent_or_whole", SmallFiles),
    (weak_limits.SwallowsErrors, "s1_a_change_on_a_full_disk_is_absent_or_whole", FewBlocks),
    (weak_limits.LeavesHalfARecord, "s1_a_change_on_a_full_disk_is_absent_or_whole", SmallFiles),
    (weak_limits.LeavesHalfARecord, "s1_a_change_on_a_full_disk_is_absent_or_whole", FewBlocks),
    (weak_limits.RemembersWhatWasRefused, "s1_a_change_on_a_full_disk_is_absent_or_whole", SmallFiles),
    (weak_limits.OpensWithRawErrors, "s1_a_change_on_a_full_disk_is_absent_or_whole", FewFiles),
    (weak_limits.NotesItsReaders, "s1_a_change_on_a_full_disk_is_absent_or_whole", FewBlocks),
    (weak_limits.GivesRawErrors, "s1_a_read_only_disk_is_unchanged", ReadOnlyMount),
    (weak_limits.GivesRawErrors, "s1_a_read_only_disk_is_unchanged", NoPermission),
    (weak_limits.WritesNothingWhereItMayNot, "s1_a_read_only_disk_is_unchanged", ReadOnlyMount),
    (weak_limits.GivesRawErrors, "s1_a_change_without_free_descriptors_is_absent_or_whole", None),
    (weak_limits.LeavesFilesOpen, "s1_a_change_without_free_descriptors_is_absent_or_whole", None),
    (weak_limits.SharesItsFile, "s3_a_store_opened_before_a_fork_works_in_every_child", None),
    (weak_limits.SharesItsFile, "s3_a_child_that_ends_disturbs_no_other_process", "leaves"),
    (weak_limits.SharesItsFile, "s3_a_child_that_ends_disturbs_no_other_process", "forks"),
    (weak_limits.SharesItsFile, "s3_a_child_that_ends_disturbs_no_other_process", "is killed"),
    (weak_limits.CleansUpAsItCloses, "s3_a_child_that_ends_disturbs_no_other_process", "closes"),
]
"""Faults with a limit or a fork, which the last member names."""


class TestRemoteStore(Failures):
    """The store without these faults passes the contract."""

    def make_store(self, place: Path) -> Any:
        return weak_calls.RemoteStore(place)

    def boundary(self, calls: Calls) -> AbstractContextManager[object]:
        return weak_calls.boundary(calls)


class TestStoreElsewhere(StoreContract):
    """A store outside of `place`, as on a server. `place` is the name of its database."""

    local_disk = False

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.root = tmp_path_factory.mktemp("server")

    def make_store(self, place: Path) -> Store:
        database = self.root / sha256(bytes(place)).hexdigest()
        database.mkdir(exist_ok=True)
        return log_store.LogStore(database)


class TestLogStore(StoreContract):
    """The log store without a fault passes the contract, so the tests below detect the faults."""

    scrubs = False

    def make_store(self, place: Path) -> Store:
        return log_store.LogStore(place)


def _run(contract: StoreContract, test: str, place: Path) -> None:
    """Run one test of a contract as pytest would: with threads in memory, with processes on disk."""
    method: Callable[..., None] = getattr(contract, f"test_{test}")
    wanted = inspect.signature(method).parameters
    given: dict[str, Any] = {"place": place, "durable_place": place, "local_place": place}
    with contract.opened(place) as store:
        given["store"] = store
        given["crew"] = Processes(partial(contract.opened, place)) if contract.durable else Threads(store)
        method(**{name: given[name] for name in wanted})


@pytest.mark.parametrize(("weak", "test"), IN_MEMORY, ids=lambda value: getattr(value, "__name__", value))
def test_a_weak_store_in_memory_is_found(weak: Callable[[], MemoryStore], test: str, tmp_path: Path) -> None:
    """A store with a fault fails the test for that fault."""

    class Contract(StoreContract):
        durable = False

        def make_store(self, place: Path) -> Store:  # noqa: ARG002
            return weak()

    with pytest.raises((AssertionError, pytest.fail.Exception, OrderFsmError, RuntimeError)):
        _run(Contract(), test, tmp_path)


@pytest.mark.parametrize(("weak", "test"), ON_DISK, ids=lambda value: getattr(value, "__name__", value))
def test_a_weak_store_on_disk_is_found(
    weak: Callable[[Path], log_store.LogStore], test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store with a fault fails the test for that fault."""
    monkeypatch.setattr(contention, "ENOUGH", 80)

    class Contract(StoreContract):
        # Few kills hit the time between two steps. The first that does ends the test.
        kill_rounds = 4000

        def make_store(self, place: Path) -> Store:
            return weak(place)

    with pytest.raises((AssertionError, pytest.fail.Exception, OrderFsmError)):
        _run(Contract(), test, tmp_path)


@pytest.mark.parametrize(("weak", "test"), CALLING, ids=lambda value: getattr(value, "__name__", value))
def test_a_weak_store_whose_calls_fail_is_found(weak: type[weak_calls.RemoteStore], test: str, tmp_path: Path) -> None:
    """A store with a fault fails the test for that fault, in one of the ways in which calls fail."""

    class Contract(TestRemoteStore):
        def make_store(self, place: Path) -> Any:
            return weak(place)

    method: Callable[..., None] = getattr(Contract(), f"test_{test}")
    doing = {"doing": "retry later"} if "doing" in inspect.signature(method).parameters else {}

    def all_ways() -> None:
        for how in Failing:
            place = tmp_path / how.name
            place.mkdir()
            method(durable_place=place, how=how, **doing)

    with pytest.raises((AssertionError, pytest.fail.Exception, OrderFsmError, ConnectionError)):
        all_ways()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("weak", "test", "which"), LIMITED, ids=lambda value: getattr(value, "__name__", value))
def test_a_weak_store_is_found_at_a_limit_or_a_fork(
    weak: type[log_store.LogStore], test: str, which: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store with a fault fails the test for that fault."""
    monkeypatch.setattr(crews, "PATIENCE", 2.0)

    class Contract(StoreContract):
        def make_store(self, place: Path) -> Store:
            return weak(place)

    method: Callable[..., None] = getattr(Contract(), f"test_{test}")

    def several_times() -> None:
        for turn in range(5):  # Not every fork happens during a write of another thread.
            place = tmp_path / f"{turn}"
            place.mkdir()
            method(place, *(() if which is None else (which,)))

    with pytest.raises((AssertionError, pytest.fail.Exception, OrderFsmError)):
        several_times()


def test_every_test_of_the_contract_finds_a_fault() -> None:
    """Every test of the contract has failed for some fault."""
    tests = {name.removeprefix("test_") for name in dir(StoreContract) if name.startswith("test_")}
    # The values copy their dicts, so no store can fail this test.
    tests.remove("s6_changing_committed_values_does_not_change_the_store")
    assert tests == {test for _, test in [*IN_MEMORY, *ON_DISK, *CALLING, *((weak, test) for weak, test, _ in LIMITED)]}


def test_exception_in_a_thread_of_a_process_is_reported(tmp_path: Path) -> None:
    """The report has the exception, not only the end of the process."""

    def fail(store: Store) -> None:
        store.load("1001")

    def work(store: Store) -> None:
        Threads(store).run([fail])

    with pytest.raises(pytest.fail.Exception, match="there is no order '1001'"):
        Processes(partial(TestLogStore().opened, tmp_path)).run([work])
