//! Finding which parts of a new file are in an old one.

/// Number of equal bytes by which a part is found.
const WINDOW: usize = 24;
/// Most zeros of such a window: addresses are zeros here.
const ZEROS_MAX: usize = WINDOW / 4 * 3;
/// Most places of one window that are looked at.
const CANDIDATES: usize = 16;
/// Number of bytes that are compared at each of them.
const JUDGED: usize = 256;
/// Distance of the positions of the old file that are remembered.
const STEP: usize = 4;
/// Most bits of the hash of a window: 16 MiB of places.
const BITS_MAX: u32 = 22;
/// Number of bytes over which a difference inside a part is judged.
const AHEAD: usize = 32;
/// Number of those bytes that must be equal.
const AHEAD_EQUAL: usize = 20;

/// A part of the old file that is in the new one too, except for addresses and a few bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatchedPart {
    pub(crate) old: usize,
    pub(crate) new: usize,
    pub(crate) len: usize,
}

fn hash(window: &[u8; WINDOW]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| window[at + index]));
    let mixed = word(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word(8).rotate_left(23);
    (mixed.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) ^ word(16)).wrapping_mul(0x1656_67b1_9e37_79f9)
}

/// Returns the parts of the new file that are in the old one, in their order.
pub(crate) fn matched_parts(old: &[u8], new: &[u8]) -> Vec<MatchedPart> {
    let windows = OldWindows::new(old);
    let (mut parts, mut at, mut free): (Vec<MatchedPart>, usize, usize) = (Vec::new(), 0, 0);
    while let Some(window) = new.get(at..).and_then(|rest| rest.first_chunk::<WINDOW>()) {
        let zeros = window.iter().filter(|byte| **byte == 0).count();
        let near = parts.last().map_or(at, |last| (last.old + at).wrapping_sub(last.new));
        let found = if zeros <= ZEROS_MAX { windows.find(window, &new[at..], near) } else { None };
        let Some(found) = found else {
            at += 1;
            continue;
        };
        let back = new[free..at].iter().rev().zip(old[..found].iter().rev()).take_while(|(a, b)| a == b).count();
        let len = matched_len(&old[found..], &new[at..]);
        parts.push(MatchedPart { old: found - back, new: at - back, len: len + back });
        at += len;
        free = at;
    }
    parts
}

/// The places of windows in the old file.
struct OldWindows<'o> {
    old: &'o [u8],
    bits: u32,
    /// For each hash the first place, in steps.
    first: Vec<u32>,
    /// For each place the next one with the same hash.
    next: Vec<u32>,
}

impl<'o> OldWindows<'o> {
    fn new(old: &'o [u8]) -> Self {
        let bits = (old.len() / STEP * 2).next_power_of_two().ilog2().clamp(10, BITS_MAX);
        let places = old.len() / STEP + 1;
        let mut windows = Self { old, bits, first: vec![u32::MAX; 1 << bits], next: vec![u32::MAX; places] };
        for (place, window) in old.windows(WINDOW).step_by(STEP).enumerate().rev() {
            if let (Some(window), Ok(number)) = (window.first_chunk(), u32::try_from(place)) {
                let slot = windows.slot(window);
                windows.next[place] = std::mem::replace(&mut windows.first[slot], number);
            }
        }
        windows
    }

    fn slot(&self, window: &[u8; WINDOW]) -> usize {
        (hash(window) >> (64 - self.bits)) as usize
    }

    /// Returns the place where most bytes are equal; of several the one that is nearest to `near`.
    fn find(&self, window: &[u8; WINDOW], new: &[u8], near: usize) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        let mut judge = |at: usize| {
            let rest = self.old.get(at..).unwrap_or_default();
            let equal = rest.iter().zip(new).take(JUDGED).take_while(|(a, b)| a == b).count();
            let is_better =
                best.is_none_or(|(len, other)| equal > len || equal == len && at.abs_diff(near) < other.abs_diff(near));
            if equal >= WINDOW && is_better {
                best = Some((equal, at));
            }
        };
        judge(near);
        let mut place = self.first[self.slot(window)];
        for _ in 0..CANDIDATES {
            let Some(next) = self.next.get(place as usize) else { break };
            judge(place as usize * STEP);
            place = *next;
        }
        best.map(|(_, at)| at)
    }
}

/// The length of what is equal at the start of both, except for short differences.
fn matched_len(old: &[u8], new: &[u8]) -> usize {
    let (mut len, end) = (0, old.len().min(new.len()));
    while len < end {
        if old[len] == new[len] {
            len += 1;
            continue;
        }
        let ahead = end.min(len + AHEAD);
        let equal = old[len..ahead].iter().zip(&new[len..ahead]).filter(|(a, b)| a == b).count();
        if equal < AHEAD_EQUAL {
            break;
        }
        len += 1;
    }
    len
}

/// Mixes a number into a token.
pub(crate) fn mixed(token: u64, number: u64) -> u64 {
    (token ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// Returns which tokens of a list are which of another: the numbers of both.
pub(crate) fn aligned(old: &[u64], new: &[u64]) -> Vec<(usize, usize)> {
    let bytes = |tokens: &[u64]| -> Vec<u8> { tokens.iter().flat_map(|token| token.to_le_bytes()).collect() };
    let mut found = Vec::new();
    for part in matched_parts(&bytes(old), &bytes(new)).iter().filter(|part| part.old % 8 == part.new % 8) {
        let indices = (0..part.len / 8).map(|index| (part.old / 8 + index, part.new / 8 + index));
        found.extend(indices.filter(|(from, to)| old[*from] == new[*to]));
    }
    found
}
