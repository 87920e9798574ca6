//! What every store promises, tried on a new database of every kind in the table of stores.

#[path = "../support/postgres.rs"]
mod postgres_server;

mod builders;
mod database;
mod doctor;
mod idle;
mod jobs;
mod listing;
mod opening;
mod outages;
mod ownership;
mod retention;
mod sessions;
mod telemetry;
mod writes;

/// A test for each behaviour, which every kind of database has to show.
macro_rules! conformance {
    ($($module:ident: $($behaviour:ident)+;)+) => {
        mod every_store {
            $($(#[tokio::test]
            async fn $behaviour() {
                for kind in lrs_store::kinds() {
                    // Shown if the test fails.
                    println!("{}", kind.name);
                    let database = crate::database::TestDatabase::new(kind).await;
                    crate::$module::$behaviour(&database).await;
                }
            })+)+
        }
    };
}

conformance! {
    jobs:
        a_job_survives_with_every_bit
        a_job_that_is_not_there_is_none
        a_name_that_is_taken_is_answered_with_its_job
        an_update_changes_all_that_may_change
        deleting_a_job_removes_all_that_belongs_to_it
        a_fork_has_the_history_of_its_source
        a_fork_of_a_job_that_is_gone_is_not_made
        attempts_come_first_to_newest
        the_snapshot_is_the_last_one_saved;
    idle:
        a_record_has_what_serving_the_job_needs
        a_record_says_whether_its_snapshot_is_behind
        what_is_damaged_of_a_record_is_named
        activity_only_rises
        jobs_are_counted_by_state_and_by_how_long_they_have_been_idle
        a_listing_has_the_newest_attempt_and_the_last_activity;
    writes:
        every_write_may_be_repeated
        writes_for_a_job_that_is_gone_do_nothing
        writes_after_a_taken_name_do_nothing
        a_refused_batch_changes_nothing
        decisions_survive_with_every_bit
        decisions_come_in_pages_in_the_order_they_were_recorded
        concurrent_writers_lose_nothing
        numbers_beyond_the_highest_are_refused;
    sessions:
        what_is_withdrawn_at_the_last_moment_is_not_written;
    telemetry:
        every_sample_survives_with_every_bit
        ten_thousand_samples_with_sixty_four_metrics_survive
        chunks_come_in_the_order_of_arrival
        ranges_of_steps_find_the_chunks_that_have_them
        the_next_step_is_the_next_that_can_be_read
        merging_keeps_every_value
        merging_leaves_ranks_and_newer_chunks_apart
        merging_beside_appends_loses_nothing
        many_chunks_go_in_together;
    listing:
        listings_agree_with_a_naive_filter
        pages_of_equal_keys_lose_nothing
        labels_with_odd_keys_are_found
        a_label_that_is_not_there_is_equal_to_nothing;
    opening:
        a_second_server_is_refused
        a_closed_store_can_be_opened_again
        a_newer_schema_is_refused_and_left_alone
        the_schema_tells_what_is_pending
        migrating_twice_changes_nothing
        many_that_open_at_once_leave_one_owner
        a_damaged_job_is_named_and_hides_no_other
        damaged_rows_of_every_table_are_named
        a_store_that_is_open_answers_a_ping;
    ownership:
        every_opening_raises_the_epoch
        an_owner_that_was_replaced_writes_nothing_more
        an_owner_that_was_replaced_keeps_no_house
        a_database_that_went_back_is_noticed
        a_database_that_went_back_before_the_owner_came_is_noticed
        a_database_that_went_back_is_noticed_though_another_owner_was_there_first
        a_row_that_is_there_with_other_contents_is_refused
        rows_say_which_owner_stored_them;
    retention:
        jobs_expire_by_when_they_ended_and_where
        telemetry_goes_a_bounded_piece_at_a_time
        telemetry_of_a_job_that_has_not_ended_stays
        a_fork_of_what_was_removed_is_refused
        removing_beside_merges_leaves_nothing_behind
        removing_beside_appends_loses_nothing;
    doctor:
        a_sound_database_has_nothing_to_find
        a_busy_database_has_nothing_to_find
        damage_of_every_kind_is_found
        a_decision_that_was_not_stored_in_time_is_stored_when_its_job_is_read
        a_damaged_file_is_found;
}
