//! Merging ranges: the result covers them, costs no more than it may, and no other choice needs fewer requests.

use libcomposefs_oci::zstd_chunked::{ByteRange, merge};
use proptest::prelude::*;

fn ranges() -> impl Strategy<Value = Vec<ByteRange>> {
    proptest::collection::vec((0u64..50, 1u64..20), 0..9).prop_map(|steps| {
        let mut at = 0;
        let range = |(gap, len): (u64, u64)| {
            let start = at + gap;
            at = start + len;
            ByteRange { start, end: at }
        };
        steps.into_iter().map(range).collect()
    })
}

fn total(ranges: &[ByteRange]) -> u64 {
    ranges.iter().map(|range| range.len()).sum()
}

/// Merges the ranges whose gaps have a bit in `choice`.
fn by_choice(ranges: &[ByteRange], choice: u32) -> Vec<ByteRange> {
    let mut merged: Vec<ByteRange> = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        match merged.last_mut() {
            Some(last) if choice >> (index - 1) & 1 == 1 => last.end = range.end,
            _ => merged.push(*range),
        }
    }
    merged
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_choice_is_better(ranges in ranges(), extra in 0u64..150, count_max in 1usize..9) {
        let merged = merge(&ranges, extra, count_max);
        prop_assert!(merged.windows(2).all(|pair| pair[0].end <= pair[1].start));
        let is_covered = |range: &ByteRange| merged.iter().any(|m| m.start <= range.start && range.end <= m.end);
        prop_assert!(ranges.iter().all(is_covered));
        prop_assert!(merged.len() <= count_max || ranges.is_empty());
        let budget = total(&ranges) + extra;
        let choices = || (0..1u32 << ranges.len().saturating_sub(1)).map(|choice| by_choice(&ranges, choice));
        if total(&merged) <= budget {
            let fewest = choices().filter(|other| total(other) <= budget).map(|other| other.len()).min();
            prop_assert_eq!(Some(merged.len()), fewest);
        } else {
            // More than the budget only because of the number of ranges, and then as little as possible.
            let within = choices().filter(|other| other.len() <= count_max).map(|other| total(&other)).min();
            prop_assert_eq!(Some(total(&merged)), within);
        }
    }
}
