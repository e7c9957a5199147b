//! The image server with the kernel's FUSE: contents, damage, directories, metadata.

mod contents;
mod damage;
mod directories;
mod fixture;
mod metadata;
mod objects;

use libcomposefs_testkit::skip;
use libtest_mimic::{Arguments, Failed};

type Case = (&'static str, fn());

const CASES: &[Case] = &[
    ("contents_are_those_of_the_objects", contents::are_those_of_the_objects),
    ("any_range_of_any_object_is_right", contents::any_range_is_right),
    ("contents_in_the_image_are_read", contents::in_the_image_are_read),
    ("many_threads_read_one_object", contents::many_threads_read_one_object),
    ("a_missing_object_is_an_error_at_read", damage::a_missing_object),
    ("every_damage_is_an_error_and_no_wrong_byte", damage::every_damage_is_an_error),
    ("damage_after_the_first_read_is_found", damage::after_the_first_read),
    ("damage_is_served_if_that_is_asked_for", damage::is_served_if_asked_for),
    ("a_file_without_digest_is_not_served", damage::a_file_without_digest),
    ("a_damaged_image_gives_errors", damage::of_the_image),
    ("a_huge_directory_is_listed", directories::a_huge_one_is_listed),
    ("a_position_in_a_directory_is_found_again", directories::positions_are_found_again),
    ("attributes_are_those_of_the_image", metadata::attributes),
    ("extended_attributes_are_those_of_a_kernel_mount", metadata::extended_attributes),
    ("fs_verity_is_not_reported", metadata::no_verity),
    ("the_file_system_is_the_one_of_the_objects", metadata::statistics),
    ("nothing_can_be_written", metadata::read_only),
    ("an_unmount_ends_the_server", metadata::unmount),
    ("objects_are_served_by_their_names", objects::are_served_by_their_names),
    ("a_damaged_object_is_an_error_until_it_is_repaired", objects::damage_is_an_error),
    ("names_that_lead_away_are_no_objects", objects::names_that_lead_away),
];

fn main() {
    let arguments = Arguments::from_args();
    let unmet = libcomposefs_testkit::fuse::unavailable();
    let trials = CASES.iter().map(|(name, run)| {
        let run = *run;
        skip::trial(name, unmet.as_deref(), move || {
            run();
            Ok::<(), Failed>(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
