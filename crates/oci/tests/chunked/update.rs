//! Updates of a layer in which a hundredth of 10,000 files has changed: requests and bytes.

use libcomposefs_testkit::numbers::noise;
use proptest::prelude::*;

use super::writer::{self, WrittenFile};
use super::{MemoryContents, pull, sections};

const FILES: usize = 10_000;

/// The size of a file: most are small, as in a real system.
fn size(number: usize) -> usize {
    100 + (number * 7919) % 997 * ((number * 31) % 13 + 1) / 3
}

/// Pulls an update of a layer. Returns the requests, the fetched bytes, and those that had to be.
fn update(changed: &[usize], ranges_per_request: usize) -> (u64, u64, u64) {
    let mut local = MemoryContents::default();
    let files: Vec<WrittenFile> = (0..FILES)
        .map(|number| {
            let content = noise(number as u64, size(number));
            if !changed.contains(&number) {
                local.add(&content);
                return (format!("usr/{:03}/{number}", number / 100), vec![content]);
            }
            (format!("usr/{:03}/{number}", number / 100), vec![noise((FILES + number) as u64, size(number))])
        })
        .collect();
    let layer = writer::write(&files);
    let positions = layer.positions().unwrap().unwrap();
    let import = pull(&layer.blob, &positions, layer.diff_id, &mut local, ranges_per_request).unwrap();
    let toc = import.layer.toc();
    let chunks: u64 = changed.iter().map(|number| toc.chunks()[*number].range.len()).sum();
    (import.requests, import.fetched, chunks + sections(&positions))
}

/// Checks an update against the promise: at most 20 requests, at most 5 % more bytes.
fn check(changed: &[usize], ranges_per_request: usize) -> (u64, u64, u64) {
    let (requests, fetched, needed) = update(changed, ranges_per_request);
    println!("{} files: {requests} requests, {fetched} bytes, {needed} needed", changed.len());
    assert!(requests <= 20, "{requests}");
    assert!(fetched * 100 <= needed * 105, "{fetched} {needed}");
    (requests, fetched, needed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scattered_files(numbers in proptest::collection::btree_set(0..FILES, FILES / 100)) {
        check(&numbers.into_iter().collect::<Vec<_>>(), 64);
    }
}

#[test]
fn files_of_a_few_directories_by_single_ranges() {
    let changed: Vec<usize> = (0..5).flat_map(|directory| (0..20).map(move |i| directory * 1900 + i)).collect();
    check(&changed, 1);
}

#[test]
fn files_near_each_other_are_fetched_with_what_is_between() {
    let changed: Vec<usize> = (0..18).flat_map(|place| [place * 500, place * 500 + 2]).collect();
    let (requests, fetched, needed) = check(&changed, 1);
    assert!(requests == 19 && fetched > needed, "{requests} {fetched} {needed}");
}

#[test]
fn scattered_files_by_single_ranges_cost_bytes_and_not_requests() {
    let changed: Vec<usize> = (0..100).map(|i| i * 97 + i % 7).collect();
    let (requests, fetched, needed) = update(&changed, 1);
    println!("{requests} requests, {fetched} bytes, {needed} needed");
    assert!(requests <= 20 && fetched > needed * 105 / 100);
}
